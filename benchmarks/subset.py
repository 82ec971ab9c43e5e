"""The phrases of the corpus, and a fixed part of its recordings where all would take too long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wakeword.clips.dataset import Clip

PHRASES = ("alexa", "computer", "jarvis", "smart mirror")
"""Those of the corpus that have splits."""


def shortened(clips: Sequence[Clip], hours: float | None, seed: int = 1) -> list[Clip]:
    """Clips in a fixed random order as long as they last no more than so many hours; None = all.

    At least one, where there is any.
    """
    if hours is None or not clips:
        return list(clips)
    order = np.random.default_rng(seed).permutation(len(clips))
    ends = np.cumsum([clips[i].seconds / 3600 for i in order])
    return [clips[i] for i, end in zip(order, ends, strict=True) if end <= hours] or [clips[order[0]]]
