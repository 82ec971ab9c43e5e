"""Which windows a run learns from: a fixed list, each rendered from its own seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword.audio import Samples, read_clip
from wakeword.clips.augment import Augmenter
from wakeword.clips.cut import CutPhrases
from wakeword.clips.dataset import Clip
from wakeword.machine import processors

POOL = 1
"""Tells the seeds of the pool from those of the planned windows."""


@dataclass(frozen=True)
class WindowSet:
    """N windows: a clip in augmented surroundings, the beginning of one that breaks off, or background alone.

    Besides these there is a pool of background, without end, of which some may come to be the last windows.

    The same (seed, epoch, i) always gives the same samples, in whatever order and process.
    """

    clips: tuple[Samples, ...]
    """The recordings of the phrases, and of what is near to them."""
    clip_of: npt.NDArray[np.int64]
    """Per window the index of its clip, -1 for background [N]."""
    targets: npt.NDArray[np.float32]
    """1 where the window holds the phrase [N, K]."""
    augmenter: Augmenter
    seed: int
    n_broken: int = 0
    """So many windows, the last ones but those from the pool, hold a phrase that breaks off."""
    mined: tuple[int, ...] = ()
    """Numbers in the pool of the last windows."""
    extra: frozenset[int] = frozenset()
    """Clips whose windows are for a student alone."""

    def __len__(self) -> int:
        return len(self.clip_of)

    def rows(self) -> npt.NDArray[np.int64]:
        """Windows for the verifier to learn from, in order."""
        return np.flatnonzero(~np.isin(self.clip_of, list(self.extra)))

    def render(self, i: int, epoch: int = 0) -> Samples:
        """Samples of window i [window]."""
        rng = np.random.default_rng([self.seed, epoch, i])
        clip, planned = self.clip_of[i], len(self) - len(self.mined)
        if i >= planned:
            return self.from_pool(self.mined[i - planned])
        if clip < 0:
            return self.augmenter.negative(rng)
        if i >= planned - self.n_broken:
            return CutPhrases(self.augmenter).window(self.clips[clip], rng)
        return self.augmenter.positive(self.clips[clip], rng)

    def from_pool(self, number: int) -> Samples:
        """Samples of the pool's window of that number [window]."""
        return self.augmenter.negative(np.random.default_rng([self.seed, 0, number, POOL]))

    def pool(self, start: int, n: int) -> Pool:
        """The pool's windows from number `start` on."""
        return Pool(self, np.arange(start, start + n))

    def with_mined(self, numbers: npt.NDArray[np.int64]) -> WindowSet:
        """The same with these windows of the pool after all others."""
        n, n_phrases = len(numbers), self.targets.shape[1]
        return replace(
            self,
            clip_of=np.concatenate([self.clip_of, np.full(n, -1)]),
            targets=np.concatenate([self.targets, np.zeros((n, n_phrases), dtype=np.float32)]),
            mined=(*self.mined, *numbers.tolist()),
        )


@dataclass(frozen=True)
class Pool:
    """A stretch of the pool of a window set."""

    windows: WindowSet
    numbers: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def render(self, i: int, epoch: int = 0) -> Samples:
        """Samples of the stretch's window i [window]."""
        return self.windows.from_pool(int(self.numbers[i]))


def plan_windows(
    clips: Sequence[Clip],
    phrases: Sequence[str],
    augmenter: Augmenter,
    *,
    versions: int,
    negatives: int,
    seed: int,
    near: Sequence[Clip] = (),
    broken: int = 0,
    extra: Collection[Path] = (),
) -> WindowSet:
    """`versions` windows per clip of a phrase, and windows without one.

    These are `negatives` of background, one of each clip that is `near` to a phrase, and `broken` per phrase
    clip in which the phrase breaks off. Those of the clips at `extra` are for a student alone.
    """
    n, m = len(clips), len(near)
    parts = (
        np.tile(np.arange(n), versions),
        np.arange(n, n + m),
        np.full(negatives, -1),
        np.tile(np.arange(n), broken),
    )
    labels = np.array([phrases.index(clip.label) for clip in clips], dtype=np.int64)
    targets = np.zeros((sum(map(len, parts)), len(phrases)), dtype=np.float32)
    targets[np.arange(n * versions), np.tile(labels, versions)] = 1
    with ThreadPoolExecutor(processors()) as pool:
        samples = tuple(pool.map(lambda clip: read_clip(clip.path), [*clips, *near]))
    alone = frozenset(i for i, clip in enumerate(clips) if clip.path in extra)
    return WindowSet(
        samples, np.concatenate(parts), targets, augmenter, seed, n_broken=n * broken, extra=alone
    )
