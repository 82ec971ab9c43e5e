"""One of the processes that torchrun starts for test_ranks: tunes the tiny net and says what came of it.

torchrun --nproc-per-node 2 tests/ddp_process.py OUT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tiny import CONFIG, sounds, tiny_net

from wakeword.audio import as_int16
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.config import OptimConfig
from wakeword.train.finetune import Course, fine_tune
from wakeword.train.model import WakewordNet, window_samples
from wakeword.train.policy import choose_policy
from wakeword.train.ranks import ALONE, Ranks, join_ranks
from wakeword.train.run import History
from wakeword.train.windows import WindowSet

OPTIM = OptimConfig(epochs=3, batch=16, learning_rate=3e-3, encoder_rate=1e-3, averaging=0.5)


class Quiet:
    """Progress that is not shown, but may be told of."""

    def __init__(self, told: Callable[[str], None] = lambda _: None) -> None:
        self._told = told

    def start(self, stage: str, total: int) -> None:
        self._told(stage)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._told(note)


def window_sets(n_background: int) -> list[WindowSet]:
    """Windows of 6 clips of each of two phrases, twice, and of background; to train on and to judge by."""
    clips = tuple(sounds(0.5, seed) for seed in range(12))
    augmenter = Augmenter(AugmentConfig(), [], [as_int16(sounds(20.0, 99))], window_samples(CONFIG.window_s))
    clip_of = np.concatenate([np.tile(np.arange(12), 2), np.full(n_background, -1)])
    targets = np.zeros((len(clip_of), 2), dtype=np.float32)
    targets[np.arange(24), clip_of[:24] // 6] = 1
    return [WindowSet(clips, clip_of, targets, augmenter, seed) for seed in (1, 2)]


def tune(tune: str, folder: Path, ranks: Ranks = ALONE) -> tuple[WakewordNet, History]:
    """65 windows in batches of 16: in the last batch is one window, which weighs more than others or less."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    net = tiny_net(slope=1.0)
    net.head.drop.p = 0.2
    train, dev = window_sets(41)
    policy = choose_policy(tune, 0.0, "cpu", 2)
    course = Course(OPTIM, folder, "key", 1, Quiet(), ranks=ranks)
    return net, fine_tune(net, train, dev, policy, course)


def main(out: Path) -> None:
    ranks = join_ranks()
    for policy in ("head", "all"):
        net, history = tune(policy, out / policy, ranks)
        state = {name: value.tolist() for name, value in net.state_dict().items()}
        about = {"train": history.train_loss, "dev": history.dev_loss, "state": state, "world": ranks.world}
        (out / f"{policy}-{ranks.rank}.json").write_text(json.dumps(about))
    ranks.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
