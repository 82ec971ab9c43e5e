"""Rounds of mining: what is found joins the windows, and the net is as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, sounds, tiny_net

from wakeword.audio import as_int16
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.config import DataConfig, OptimConfig
from wakeword.train.finetune import Course, Kept, fine_tune
from wakeword.train.model import Lower, Upper, WakewordNet, window_samples
from wakeword.train.policy import HEAD, choose_policy
from wakeword.train.rounds import hardest, with_hard_negatives
from wakeword.train.windows import WindowSet

DATA = DataConfig(mining_rounds=2, mining_pool=30, mining_kept=4)
OPTIM = OptimConfig(epochs=2, batch=16)


class Quiet:
    def start(self, stage: str, total: int) -> None:
        """Nothing is shown."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Nothing is shown."""


@pytest.fixture(scope="module")
def sets() -> tuple[WindowSet, WindowSet]:
    augmenter = Augmenter(AugmentConfig(), [], [as_int16(sounds(60.0))], window_samples(CONFIG.window_s))
    targets = np.zeros((40, 2), dtype=np.float32)
    targets[0, 0] = targets[1, 1] = 1
    clips = (sounds(0.5, seed=3), sounds(0.5, seed=4))
    clip_of = np.concatenate([[0, 1], np.full(38, -1)])
    return tuple(WindowSet(clips, clip_of, targets, augmenter, seed) for seed in (1, 2))  # type: ignore[return-value]


def course(folder: Path, kept: Kept | None = None) -> Course:
    return Course(OPTIM, folder, "key", 1, Quiet(), kept)


def mined(
    net: WakewordNet, sets: tuple[WindowSet, WindowSet], folder: Path, kept: Kept | None = None
) -> WindowSet:
    return with_hard_negatives(net, *sets, HEAD, DATA, course(folder, kept))


def test_the_hardest_of_each_phrase() -> None:
    scores = np.array([[0.0, 5.0], [3.0, 1.0], [2.0, 4.0], [1.0, 0.0]])
    assert hardest(scores, 1).tolist() == [0, 1]
    assert hardest(scores, 2).tolist() == [0, 1, 2]


def test_what_scores_highest_joins_and_the_net_is_as_it_was(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path
) -> None:
    net, before = tiny_net(slope=1.0), tiny_net(slope=1.0).state_dict()
    more = mined(net, sets, tmp_path)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    first = [number for number in more.mined if number < 30]
    assert 4 <= len(first) <= 8 and 4 <= len(more.mined) - len(first) <= 8
    assert max(more.mined) < 60
    # The first round by hand.
    fine_tune(net, *sets, HEAD, course(tmp_path / "hand"))
    with torch.inference_mode():
        audio = torch.from_numpy(np.stack([sets[0].pool(0, 30).render(i) for i in range(30)]))
        scores = net(net.encoder_input(audio)).half().numpy()
    assert first == hardest(scores, 4).tolist()


def test_features_go_on_where_the_rounds_left_them(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    net = tiny_net(slope=1.0)
    more = mined(net, sets, tmp_path)
    history = fine_tune(net, more, sets[1], HEAD, course(tmp_path))
    other = tiny_net(slope=1.0)
    at_once = fine_tune(other, more, sets[1], HEAD, course(tmp_path / "other"))
    assert at_once == history
    assert len(np.load(tmp_path / "train.npy")) == len(more) == len(np.load(tmp_path / "train-mel.npy"))
    kept = np.load(tmp_path / "other" / "train.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "train.npy"), kept)


def test_again_is_the_same_without_any_work(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    net = tiny_net(slope=1.0)
    kept = Kept(Lower(net, 1), Upper(net, 1))
    more = mined(net, sets, tmp_path, kept)
    fine_tune(net, more, sets[1], HEAD, course(tmp_path, kept))
    files = {p: p.read_bytes() for p in tmp_path.glob("*.np*")}
    net.head.load_state_dict(tiny_net(slope=1.0).head.state_dict())
    again = mined(net, sets, tmp_path, kept)
    assert again.mined == more.mined
    assert {p: p.read_bytes() for p in tmp_path.glob("*.np*")} == files


def test_no_rounds(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    none = replace(DATA, mining_rounds=0)
    assert with_hard_negatives(tiny_net(), *sets, HEAD, none, course(tmp_path)) is sets[0]
    assert not list(tmp_path.iterdir())


def test_none_where_windows_are_rendered_anew(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    top = choose_policy("top-1", 0.0, "cpu", 2)
    assert with_hard_negatives(tiny_net(), *sets, top, DATA, course(tmp_path)) is sets[0]
    assert not list(tmp_path.iterdir())
