"""An interrupted run ends as an uninterrupted one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from wakeword.config import OptimConfig
from wakeword.errors import TrainingError
from wakeword.train.run import History, Run, rate_schedule

X = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]]) + 0.3


class Quiet:
    """Progress that remembers what was advanced."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.steps: list[int] = []
        self.stop_after = stop_after

    def start(self, stage: str, total: int) -> None:
        assert (stage, total) == ("fit", 6)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps.append(steps)
        if len(self.steps) > self.stop_after:
            raise KeyboardInterrupt


def fit(
    folder: Path, key: str = "k", scale: float = 1.0, progress: Quiet | None = None
) -> tuple[nn.Module, History]:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1))
    config = OptimConfig(epochs=6, batch=16, learning_rate=3e-2, averaging=0.8)
    groups = [{"params": list(net.parameters()), "lr": config.learning_rate}]
    run = Run(net, groups, config, len(X), folder, key, seed=5)

    def losses(order: npt.NDArray[np.int64], epoch: int) -> Iterator[Tensor]:
        for at in range(0, len(order), config.batch):
            batch = order[at : at + config.batch]
            yield (net(X[batch]) - Y[batch]).square().mean() * scale

    def dev_losses() -> Iterator[tuple[Tensor, int]]:
        yield (net(X[:30]) - Y[:30]).square().mean() * scale, 30
        yield (net(X[30:]) - Y[30:]).square().mean() * scale, 20

    return net, run.fit("fit", losses, dev_losses, progress or Quiet())


def test_it_learns_and_keeps_the_best(tmp_path: Path) -> None:
    net, history = fit(tmp_path)
    assert len(history.train_loss) == len(history.dev_loss) == 6
    assert min(history.dev_loss) < 0.5 * history.dev_loss[0]
    assert not net.training
    with torch.inference_mode():
        assert float((net(X) - Y).square().mean()) == pytest.approx(min(history.dev_loss), rel=1e-5)


def test_a_resumed_run_ends_the_same(tmp_path: Path) -> None:
    whole, expected = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", progress=Quiet(stop_after=3))
    progress = Quiet()
    resumed, history = fit(tmp_path / "cut", progress=progress)
    assert progress.steps == [3, 1, 1, 1]
    assert history == expected
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    again, _ = fit(tmp_path / "cut", progress=(finished := Quiet()))
    assert finished.steps == [6]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_another_key_starts_over(tmp_path: Path) -> None:
    fit(tmp_path, key="first")
    fit(tmp_path, key="second", progress=(progress := Quiet()))
    assert progress.steps == [0, 1, 1, 1, 1, 1, 1]


def test_a_loss_that_diverges_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1; lower the learning_rate"):
        fit(tmp_path, scale=float("nan"))


def test_the_rate_rises_and_falls() -> None:
    got = [rate_schedule(p, 0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    np.testing.assert_allclose(got, [0, 0.5, 1, 0.5, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("patience", "epochs"),
    [(0, 6), (1, 3), (2, 6), (6, 6)],
    ids=["never", "at the first", "at the second", "late"],
)
def test_it_stops_where_dev_learns_no_more(patience: int, epochs: int, tmp_path: Path) -> None:
    """Dev losses 3, 2, 2.5, 1, 4, 5: after one bad epoch, after two, or not at all; the best is kept."""
    net = nn.Linear(1, 1, bias=False)
    config = OptimConfig(epochs=6, patience=patience, batch=1, learning_rate=0.1, averaging=0.0)
    run = Run(net, [{"params": list(net.parameters()), "lr": 0.1}], config, 1, tmp_path, "k", seed=1)
    said, weights = iter([3.0, 2.0, 2.5, 1.0, 4.0, 5.0]), list[float]()

    def losses(order: npt.NDArray[np.int64], epoch: int) -> Iterator[Tensor]:
        yield net(torch.ones(1, 1)).sum()

    def dev_losses() -> Iterator[tuple[Tensor, int]]:
        weights.append(float(net.weight.detach()))
        yield torch.tensor(next(said)), 1

    history = run.fit("fit", losses, dev_losses, Quiet())
    assert len(history.dev_loss) == epochs
    assert float(net.weight.detach()) == weights[int(np.argmin(history.dev_loss))]
