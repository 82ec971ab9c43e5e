"""Which windows a run learns from: a fixed list, each rendered from its own seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword.audio import Samples, read_clip
from wakeword.clips.augment import Augmenter
from wakeword.clips.cut import CutPhrases
from wakeword.clips.dataset import Clip
from wakeword.machine import processors


@dataclass(frozen=True)
class WindowSet:
    """N windows: a clip in augmented surroundings, the beginning of one that breaks off, or background alone.

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
    """So many windows, the last ones, hold a phrase that breaks off."""
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
        clip = self.clip_of[i]
        if clip < 0:
            return self.augmenter.negative(rng)
        if i >= len(self) - self.n_broken:
            return CutPhrases(self.augmenter).window(self.clips[clip], rng)
        return self.augmenter.positive(self.clips[clip], rng)


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
    return WindowSet(samples, np.concatenate(parts), targets, augmenter, seed, n * broken, alone)
