"""Rounds of mining: background that the verifier nearly takes for a phrase joins what it learns from.

Of windows drawn at random nearly all are easy, and teach nothing. In each round the new layers are fitted for
a while, hear many more windows of the same background, and those that score highest stay.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from wakeword.config import DataConfig, OptimConfig
from wakeword.train.features import cache_features
from wakeword.train.finetune import Kept, fine_tune
from wakeword.train.model import WakewordNet
from wakeword.train.policy import HEAD
from wakeword.train.ranks import ALONE, Ranks
from wakeword.train.run import Progress
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
    net: WakewordNet,
    train: WindowSet,
    dev: WindowSet,
    data: DataConfig,
    optim: OptimConfig,
    workspace: Path,
    key: str,
    seed: int,
    progress: Progress,
    kept: Kept | None = None,
    ranks: Ranks = ALONE,
) -> WindowSet:
    """The train windows and, after them, what the rounds found; the net is left as it was.

    The arguments after `optim` are as for `fine_tune`, whose features are kept and gone on with.
    """
    begun = copy.deepcopy(net.head.state_dict())
    optim = replace(optim, epochs=min(optim.epochs, ROUND_EPOCHS))
    for number in range(1, data.mining_rounds + 1):
        fine_tune(net, train, dev, HEAD, optim, workspace, key, seed, progress, kept, ranks)
        pool = train.pool((number - 1) * data.mining_pool, data.mining_pool)
        progress.start(f"background heard in round {number}", len(pool))
        with ranks.first():
            scores = cache_features(
                _Scores(net, kept or Kept(net)),
                pool,
                workspace / f"round-{number}.npy",
                key,
                progress.advance,
            )
        train = train.with_mined(pool.numbers[hardest(scores, data.mining_kept)])
        net.head.load_state_dict(begun)
    return train


def hardest(scores: npt.NDArray[np.floating], n: int) -> npt.NDArray[np.int64]:
    """Rows of scores [N, K] that are among the `n` highest in a column, in order."""
    return np.unique(np.argsort(-scores, axis=0, kind="stable")[:n])
