"""Which windows a run learns from: a fixed list, each rendered from its own seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword.audio import Samples, read_clip
from wakeword.clips.augment import Augmenter
from wakeword.clips.dataset import Clip


@dataclass(frozen=True)
class WindowSet:
    """N windows: window i is a phrase clip in augmented surroundings, or background alone.

    The same (seed, epoch, i) always gives the same samples, in whatever order and process.
    """

    clips: tuple[Samples, ...]
    """The recordings of the phrases."""
    clip_of: npt.NDArray[np.int64]
    """Per window the index of its clip, -1 for background [N]."""
    targets: npt.NDArray[np.float32]
    """1 where the window holds the phrase [N, K]."""
    augmenter: Augmenter
    seed: int

    def __len__(self) -> int:
        return len(self.clip_of)

    def render(self, i: int, epoch: int = 0) -> Samples:
        """Samples of window i [window]."""
        rng = np.random.default_rng([self.seed, epoch, i])
        clip = self.clip_of[i]
        return self.augmenter.negative(rng) if clip < 0 else self.augmenter.positive(self.clips[clip], rng)


def plan_windows(
    clips: Sequence[Clip],
    phrases: Sequence[str],
    augmenter: Augmenter,
    versions: int,
    negatives: int,
    seed: int,
) -> WindowSet:
    """`versions` windows per clip of a phrase and `negatives` windows of background."""
    labels = np.array([phrases.index(clip.label) for clip in clips], dtype=np.int64)
    clip_of = np.concatenate([np.tile(np.arange(len(clips)), versions), np.full(negatives, -1)])
    targets = np.zeros((len(clip_of), len(phrases)), dtype=np.float32)
    positive = np.flatnonzero(clip_of >= 0)
    targets[positive, labels[clip_of[positive]]] = 1
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        samples = tuple(pool.map(lambda clip: read_clip(clip.path), clips))
    return WindowSet(samples, clip_of, targets, augmenter, seed)
