"""Phrases that break off half-way, cut from recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import SAMPLE_RATE, Samples, active_level_dbfs, read_audio, speech_span
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.cut import CutPhrases, cut_off


@pytest.fixture
def clip(rng: np.random.Generator) -> Samples:
    """A second of tone between pauses of half a second, in a little noise."""
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.3 * np.sin(2 * np.pi * 700 * seconds) * ((seconds > 0.5) & (seconds < 1.5))
    return (tone + 1e-4 * rng.standard_normal(len(seconds))).astype(np.float32)


def test_share_of_the_phrase_is_left(clip: Samples, rng: np.random.Generator) -> None:
    start, end = speech_span(clip)
    shares = [(len(cut_off(clip, rng)) - start) / (end - start) for _ in range(200)]
    assert 0.29 < min(shares) < 0.33 and 0.62 < max(shares) < 0.66


def test_beginning_is_as_it_was_and_the_end_is_quiet(clip: Samples, rng: np.random.Generator) -> None:
    cut = cut_off(clip, rng, 0.5, 0.5)
    same = len(cut) - int(0.06 * SAMPLE_RATE)
    np.testing.assert_array_equal(cut[:same], clip[:same])
    assert abs(cut[-1]) < 1e-3 < np.abs(cut).max()


def test_clip_is_left_alone(clip: Samples, rng: np.random.Generator) -> None:
    before = clip.copy()
    cut_off(clip, rng)
    np.testing.assert_array_equal(clip, before)


def test_windows_hold_half_the_phrase_near_their_end(clip: Samples) -> None:
    quiet = AugmentConfig(p_clean=1.0)
    window_samples = 2 * SAMPLE_RATE
    maker = CutPhrases(Augmenter(quiet, [], [], window_samples), 0.5, 0.5)
    lengths, gaps = [], []
    for seed in range(40):
        window = maker.window(clip, np.random.default_rng(seed))
        assert window.shape == (window_samples,) and np.abs(window).max() <= 1
        assert active_level_dbfs(window) > -50
        loud = np.flatnonzero(np.abs(window) > np.abs(window).max() / 4)
        lengths.append((loud[-1] - loud[0]) / SAMPLE_RATE)
        gaps.append((window_samples - loud[-1]) / SAMPLE_RATE)
    assert min(lengths) > 0.42 and max(lengths) < 0.54
    assert min(gaps) < 0.15 and 0.4 < max(gaps) < 0.75


def test_same_seed_same_window(clip: Samples) -> None:
    maker = CutPhrases(Augmenter(AugmentConfig(), [], [], 2 * SAMPLE_RATE))
    first, second = (maker.window(clip, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.corpus
def test_real_clips_lose_their_second_half(corpus: Path, rng: np.random.Generator) -> None:
    for path in (
        sorted((corpus / "phrase").rglob("*computer*"))[:5] or sorted((corpus / "phrase").rglob("*.opus"))[:5]
    ):
        clip = read_audio(path)
        start, end = speech_span(clip)
        assert start + 0.3 * (end - start) - 1 <= len(cut_off(clip, rng)) <= start + 0.65 * (end - start) + 1
