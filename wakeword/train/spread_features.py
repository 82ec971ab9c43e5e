"""Log-mel and features made by the workers of a cluster, kept where `fine_tune` and `make_lessons` look.

The workers read the recordings themselves, once each; what they make comes back here in blocks, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch

from wakeword.clips.drop import DropList
from wakeword.clips.gather import Recordings
from wakeword.config import TrainConfig
from wakeword.spread import Spreads
from wakeword.train.features import (
    BATCH,
    FromKept,
    KeptRows,
    MakesFeatures,
    MelOnly,
    Renders,
    block_of,
    cache_encoded,
    cache_log_mel,
)
from wakeword.train.material import Sounds, windows_of
from wakeword.train.run import Progress

Block = npt.NDArray[np.float16]
Result = TypeVar("Result")


@dataclass(frozen=True)
class WindowPlan:
    """All that the windows of train or dev are made of, by their paths: small enough to send."""

    split: str
    recordings: Recordings
    drop: DropList
    settings: TrainConfig

    def build(self) -> Renders:
        """The windows; reads every recording."""
        sounds = Sounds.read(self.recordings.background[self.split], self.drop)
        return windows_of(self.split, self.recordings, sounds, self.settings)


class _Render:
    """Log-mel of the windows with these numbers."""

    def __init__(self, plan: Callable[[], Renders]) -> None:
        torch.set_num_threads(1)
        self._windows, self._net = plan(), MelOnly()

    def __call__(self, rows: npt.NDArray[np.int64]) -> Block:
        return block_of(self._net, self._windows, rows)


class _Encode:
    """Features of a block of log-mel."""

    def __init__(self, net: MakesFeatures) -> None:
        torch.set_num_threads(1)
        self._net = FromKept(net).eval()

    def __call__(self, mel: Block) -> Block:
        return block_of(self._net, KeptRows(mel), np.arange(len(mel)))


class _Blocks(Sequence[Block]):
    """Rows in blocks, read when they are sent."""

    def __init__(self, rows: Block, starts: range) -> None:
        self._rows, self._starts = rows, starts

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, i: int) -> Block: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Block]: ...
    def __getitem__(self, i: int | slice) -> Block | Sequence[Block]:
        if isinstance(i, slice):
            return _Blocks(self._rows, self._starts[i])
        if i >= len(self):
            raise IndexError(i)
        start = self._starts[i]
        return np.asarray(self._rows[start : start + BATCH])


def spread_features(
    spread: Spreads,
    plan: Callable[[], Renders],
    windows: Renders,
    net: MakesFeatures | None,
    path: Path,
    key: str,
    progress: Progress,
) -> None:
    """Fill the caches of log-mel, and of features where a net that takes log-mel is given.

    `plan` makes `windows` in a worker; `path` and `key` are as for `fine_tune`.
    """

    def rendered(done: int) -> Iterator[Block]:
        rows = [np.arange(at, min(at + BATCH, len(windows))) for at in range(done, len(windows), BATCH)]
        return in_order(spread.run(partial(_Render, plan), rows))

    mel = cache_log_mel(windows, path, key, progress, rendered)
    if net is None:
        return

    def encoded(done: int) -> Iterator[Block]:
        return in_order(spread.run(partial(_Encode, net), _Blocks(mel, range(done, len(mel), BATCH))))

    cache_encoded(FromKept(net), KeptRows(mel), path, key, progress, encoded)


def in_order(results: Iterator[tuple[int, Result]]) -> Iterator[Result]:
    """Results by their index; those that come early wait."""
    waiting, due = dict[int, Result](), 0
    for i, result in results:
        waiting[i] = result
        while due in waiting:
            yield waiting.pop(due)
            due += 1
