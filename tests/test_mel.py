"""Log-mel against a naive computation from the definition, and the stream against the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import sounds

from wakeword.mel import (
    N_MELS,
    StreamingLogMel,
    hann_window,
    log_mel,
    mel_filters,
    n_frames,
    n_samples,
    normalise,
)


def naive_hz(mel: float) -> float:
    """Slaney's scale, backwards, in whole steps: 3 mel every 200 Hz, then 27 mel every factor of 6.4."""
    return mel * 200 / 3 if mel < 15 else 1_000 * 6.4 ** ((mel - 15) / 27)


def naive_filter(band: int, hz: float) -> float:
    top = 15 + 27 * math.log(8) / math.log(6.4)
    low, mid, high = (naive_hz(top * (band + i) / (N_MELS + 1)) for i in range(3))
    slope = min((hz - low) / (mid - low), (high - hz) / (high - mid))
    return max(0.0, slope) * 2 / (high - low)


def test_filters_by_definition() -> None:
    got = mel_filters()
    assert got.shape == (80, 201)
    for band in range(0, 80, 7):
        np.testing.assert_allclose(got[band], [naive_filter(band, 40.0 * k) for k in range(201)], atol=1e-8)


def test_one_frame_by_a_naive_transform() -> None:
    frame = sounds(0.1, seed=5)[:400].astype(np.float64)
    window = np.array([math.sin(math.pi * n / 400) ** 2 for n in range(400)])
    np.testing.assert_allclose(hann_window(), window, atol=1e-7)
    k = np.arange(201)[:, None]
    bins = (frame * window * np.exp(-2j * np.pi * k * np.arange(400) / 400)).sum(axis=1)
    expected = np.log10(np.maximum(mel_filters() @ np.abs(bins) ** 2, 1e-10))
    np.testing.assert_allclose(log_mel(frame.astype(np.float32))[:, 0], expected, atol=1e-4)


def test_matches_whispers_own_frontend(speech: np.ndarray) -> None:
    """Whisper centres frame i on sample 160 i: ours of the audio from sample 160 i - 200 on."""
    extractor = pytest.importorskip("faster_whisper.feature_extractor")
    theirs = extractor.FeatureExtractor(feature_size=80)(speech)
    ours = log_mel(np.concatenate([speech[120:], np.zeros(400, dtype=np.float32)]))
    ours = normalise(ours)[:, : theirs.shape[1] - 4]
    np.testing.assert_allclose(ours[:, :900], theirs[:, 2:902], atol=2e-3)


def test_counting() -> None:
    assert [n_frames(n) for n in (0, 399, 400, 559, 560)] == [0, 0, 1, 1, 2]
    for frames in (1, 2, 100, 188):
        assert n_frames(n_samples(frames)) == frames
        assert n_frames(n_samples(frames) - 1) == frames - 1
    assert log_mel(np.zeros(399, dtype=np.float32)).shape == (80, 0)


def test_normalise_by_hand() -> None:
    mel = np.array([[2.0, -5.9], [-6.1, -10.0]], dtype=np.float32)
    np.testing.assert_allclose(normalise(mel), [[1.5, -0.475], [-0.5, -0.5]], atol=1e-6)


def test_tables_are_read_only() -> None:
    for table in (mel_filters(), hann_window()):
        with pytest.raises(ValueError, match="read-only"):
            table[...] = 0


@pytest.mark.parametrize("block", [1, 159, 160, 400, 1280, 4001, 16_000])
def test_stream_equals_whole(block: int) -> None:
    samples = sounds(1.0)
    stream = StreamingLogMel()
    parts = [stream.feed(samples[i : i + block]) for i in range(0, len(samples), block)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), log_mel(samples), atol=1e-5)
    stream.reset()
    np.testing.assert_allclose(stream.feed(samples), log_mel(samples), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1_500), max_size=12))
def test_stream_equals_whole_for_any_blocks(lengths: list[int]) -> None:
    samples = sounds(sum(lengths) / 16_000 + 0.01)[: sum(lengths)]
    stream, at, parts = StreamingLogMel(), 0, [np.zeros((N_MELS, 0), dtype=np.float32)]
    for length in lengths:
        parts.append(stream.feed(samples[at : at + length]))
        at += length
    np.testing.assert_allclose(np.concatenate(parts, axis=1), log_mel(samples), atol=1e-5)
