from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wakeword.train import pieces as module
from wakeword.train.pieces import Pieces

PIECES = 3
ROWS = np.array_split(np.arange(23), PIECES)
INPUTS = torch.from_numpy(np.random.default_rng(1).standard_normal((23, 5)).astype(np.float32))


@pytest.fixture(autouse=True)
def three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "processors", lambda: PIECES)


def small_net(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7) if norm else nn.ReLU(), nn.Linear(7, 2))


def loss_of(net: nn.Module, i: int) -> Tensor:
    loss: Tensor = net(INPUTS[ROWS[i]]).square().mean()
    return loss


def learn(net: nn.Module, steps: int = 4) -> list[float]:
    optimizer, losses = torch.optim.AdamW(net.parameters(), lr=0.1), list[float]()
    with Pieces(net) as pieces:
        for _ in range(steps):
            loss = pieces.loss(loss_of, [len(rows) for rows in ROWS])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


def test_pieces_have_the_loss_and_the_gradients_of_the_whole() -> None:
    net, whole = small_net(), small_net()
    loss = whole(INPUTS).square().mean()
    loss.backward()
    with Pieces(net) as pieces:
        of_pieces = pieces.loss(loss_of, [len(rows) for rows in ROWS])
        of_pieces.backward()
    assert float(of_pieces.detach()) == pytest.approx(float(loss.detach()), rel=1e-5)
    for p, q in zip(net.parameters(), whole.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-6)


def test_later_steps_see_the_weights_of_earlier_ones() -> None:
    net, whole = small_net(), small_net()
    learnt, optimizer = learn(net), torch.optim.AdamW(whole.parameters(), lr=0.1)
    for expected in learnt:
        loss = whole(INPUTS).square().mean()
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert learnt[-1] < learnt[0]


def test_threads_change_nothing_from_run_to_run() -> None:
    first, again = small_net(norm=True), small_net(norm=True)
    assert learn(first) == learn(again)
    found, expected = again.state_dict(), first.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("processors", "pieces"), [(1, 1), (2, 2), (64, 4)])
def test_a_piece_for_each_processor(processors: int, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "processors", lambda: processors)
    with Pieces(small_net()) as made:
        assert len(made) == pieces
        one = made.loss(loss_of, [1.0] + [0.0] * (pieces - 1))
    assert float(one.detach()) == pytest.approx(float(loss_of(small_net(), 0).detach()))


def test_the_norms_that_are_kept_saw_the_first_piece() -> None:
    net, first = small_net(norm=True), small_net(norm=True)
    learn(net, steps=1)
    loss_of(first, 0)
    norm, alone = net[1], first[1]
    assert isinstance(norm, nn.BatchNorm1d) and isinstance(alone, nn.BatchNorm1d)
    assert torch.allclose(norm.running_mean, alone.running_mean)  # type: ignore[arg-type]
    assert int(norm.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_a_piece_without_rows_is_left_out() -> None:
    asked = []

    def noted(net: nn.Module, i: int) -> Tensor:
        asked.append(i)
        return loss_of(net, i)

    with Pieces(small_net()) as pieces:
        assert float(pieces.loss(noted, [0.0, 2.0, 0.0]).detach()) == pytest.approx(
            float(loss_of(small_net(), 1).detach())
        )
    assert asked == [1]


def test_what_goes_wrong_in_a_piece_is_raised_and_threads_are_as_before() -> None:
    def fails(net: nn.Module, i: int) -> Tensor:
        raise MemoryError("no more")

    threads, alive = torch.get_num_threads(), threading.active_count()
    with pytest.raises(MemoryError, match="no more"), Pieces(small_net()) as pieces:
        pieces.loss(fails, [1.0] * PIECES)
    assert torch.get_num_threads() == threads
    assert threading.active_count() == alive
