"""Phrases that break off: what a detector hears half-way, and must not take for the whole.

Made of real recordings of the phrase, so that voice, room and microphone tell nothing; only the second half
of the phrase is missing. Windows of them are negatives (all targets 0).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples, speech_span
from wakeword.clips.augment import Augmenter

MIN_SHARE, MAX_SHARE = 0.30, 0.65
"""Of the phrase's duration: what is left of it."""
MIN_FADE_S, MAX_FADE_S = 0.005, 0.06
"""From a hard stop to a voice that dies away: no kind of ending is to give the cut away."""
P_MIDWAY = 0.5
"""Windows that end where the cut is, as a listener's do while the phrase is being spoken."""
MIDWAY_AFTER_S = 0.08
"""Those end at most one hop after the cut."""


def cut_off(
    clip: Samples, rng: np.random.Generator, low: float = MIN_SHARE, high: float = MAX_SHARE
) -> Samples:
    """A recording of a phrase that breaks off in it.

    Args:
        clip: One utterance [N]; where the phrase begins and ends is found by energy.
        rng: Draws where it breaks off, and how abruptly.
        low: Least share of the phrase's duration that is left.
        high: Most of it.

    Returns:
        The clip up to the cut, faded out; nothing of what came after. [fewer than N]
    """
    start, end = speech_span(clip)
    length = max(1, int((end - start) * rng.uniform(low, high)))
    kept: Samples = clip[: start + length].copy()
    fade = min(int(rng.uniform(MIN_FADE_S, MAX_FADE_S) * SAMPLE_RATE), length)
    kept[len(kept) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return kept


class CutPhrases:
    """Makes negative windows of clips of a phrase, with all that `Augmenter.positive` does to them."""

    def __init__(self, augmenter: Augmenter, low: float = MIN_SHARE, high: float = MAX_SHARE) -> None:
        self._after, self._share = augmenter, (low, high)
        self._midway = copy.copy(augmenter)
        self._midway.config = replace(augmenter.config, min_after_s=0.0, max_after_s=MIDWAY_AFTER_S)

    def window(self, clip: Samples, rng: np.random.Generator) -> Samples:
        """The first 30 to 65 % of the phrase, and then background, or the window's end. [window_samples]"""
        broken = cut_off(clip, rng, *self._share)
        augmenter = self._midway if rng.random() < P_MIDWAY else self._after
        return augmenter.positive(broken, rng)
