"""Rounds of mining: background that the verifier nearly takes for a phrase joins what it learns from.

Of windows drawn at random nearly all are easy, and teach nothing. In each round the new layers are fitted for
a while, hear many more windows of the same background, and those that score highest stay.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from wakeword.config import DataConfig
from wakeword.train.features import cache_features
from wakeword.train.finetune import Course, Kept, fine_tune
from wakeword.train.model import WakewordNet
from wakeword.train.policy import HEAD, Policy
from wakeword.train.windows import WindowSet

ROUND_EPOCHS = 2
"""Of the new layers before each search: their dev loss has mostly been lowest by then."""


class _Scores:
    """What the new layers say, as `cache_features` takes a net."""

    def __init__(self, net: WakewordNet, kept: Kept) -> None:
        self._net, self._kept = net, kept

    def encoder_input(self, audio: Tensor) -> Tensor:
        return self._net.encoder_input(audio)

    def features(self, x: Tensor) -> Tensor:
        """Logits [B, K]."""
        features = self._kept.frozen.features(x)
        logits: Tensor = self._net.head(self._kept.above.features(features) if self._kept.above else features)
        return logits

    def parameters(self) -> Iterator[Tensor]:
        return self._net.parameters()

    def eval(self) -> _Scores:
        self._net.eval()
        return self


def with_hard_negatives(
    net: WakewordNet, train: WindowSet, dev: WindowSet, policy: Policy, data: DataConfig, course: Course
) -> WindowSet:
    """The train windows and, after them, what the rounds found; the net is left as it was.

    There is none where windows are rendered anew each epoch. `course` is that of `fine_tune`, whose features
    are kept and gone on with.
    """
    if not course.keeps(policy):
        return train
    begun = copy.deepcopy(net.head.state_dict())
    epochs = min(course.optim.epochs, ROUND_EPOCHS)
    short = replace(course, optim=replace(course.optim, epochs=epochs))
    for number in range(1, data.mining_rounds + 1):
        fine_tune(net, train, dev, HEAD, short)
        pool = train.pool((number - 1) * data.mining_pool, data.mining_pool)
        course.progress.start(f"background heard in round {number}", len(pool))
        store = course.workspace / f"round-{number}.npy"
        scorer = _Scores(net, course.kept or Kept(net))
        with course.ranks.first():
            scores = cache_features(scorer, pool, store, course.key, course.progress.advance)
        train = train.with_mined(pool.numbers[hardest(scores, data.mining_kept)])
        net.head.load_state_dict(begun)
    return train


def hardest(scores: npt.NDArray[np.floating], n: int) -> npt.NDArray[np.int64]:
    """Rows of scores [N, K] that are among the `n` highest in a column, in order."""
    return np.unique(np.argsort(-scores, axis=0, kind="stable")[:n])
