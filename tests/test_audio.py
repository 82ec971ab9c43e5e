"""Recordings of many formats become one; what is no recording is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword.audio import (
    SAMPLE_RATE,
    Samples,
    active_level_dbfs,
    as_float,
    as_int16,
    frame_levels_dbfs,
    level_dbfs,
    mix_down,
    read_audio,
    read_clip,
    speech_span,
    write_wav,
)
from wakeword.errors import AudioError


def sine(seconds: float, rate: int = SAMPLE_RATE, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def test_int16_is_scaled_and_float_is_not() -> None:
    got = as_float(np.array([-32768, -16384, 0, 32767], dtype=np.int16))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.array([-1, -0.5, 0, 32767 / 32768], dtype=np.float32))
    samples = np.array([-1, 0.25, 1.5], dtype=np.float32)
    np.testing.assert_array_equal(as_float(samples), samples)
    assert as_float(np.zeros(0, dtype=np.int16)).shape == (0,)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(3), "float64"),
        (np.zeros(3, dtype=np.int32), "int32"),
        (np.zeros(3, dtype=np.uint8), "uint8"),
        (np.zeros((3, 2), dtype=np.float32), r"\[3, 2\]"),
        (np.float32(0.5), r"shape \[\]"),
        (np.array([0, np.nan], dtype=np.float32), "NaN"),
        (np.array([0, -np.inf], dtype=np.float32), "infinity"),
    ],
)
def test_other_samples_are_refused(samples: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        as_float(np.asarray(samples))


def test_int16_survives_the_round_trip() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(as_int16(as_float(every)), every)
    np.testing.assert_array_equal(as_int16(np.array([-2, 1, 2], dtype=np.float32)), [-32768, 32767, 32767])


def test_mix_down_averages_the_channels() -> None:
    stereo = np.array([[1, 0], [0.5, -0.5], [0.25, 0.75]], dtype=np.float32)
    np.testing.assert_array_equal(mix_down(stereo), np.array([0.5, 0, 0.5], dtype=np.float32))
    np.testing.assert_array_equal(mix_down(stereo[:, 0]), stereo[:, 0])


@pytest.mark.parametrize(
    ("name", "rate", "subtype", "tolerance"),
    [
        ("a.wav", 16_000, "PCM_16", 1e-4),
        ("a.wav", 16_000, "PCM_24", 1e-6),
        ("a.wav", 16_000, "FLOAT", 0.0),
        ("a.wav", 8_000, "PCM_16", 1e-3),
        ("a.wav", 48_000, "PCM_24", 1e-3),
        ("a.flac", 44_100, "PCM_16", 1e-3),
        ("a.ogg", 48_000, "VORBIS", 0.03),
        ("a.mp3", 44_100, None, 0.03),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_rates_and_channels(
    tmp_path: Path, name: str, rate: int, subtype: str | None, tolerance: float, channels: int
) -> None:
    samples = np.tile(sine(1.0, rate)[:, None], channels)
    got = read_audio(write(tmp_path / name, samples, rate, subtype))
    assert got.dtype == np.float32
    assert abs(len(got) - SAMPLE_RATE) <= 2_500  # MP3 pads to whole frames
    middle = slice(4_000, 12_000)
    shifts = range(-3, 4) if name != "a.mp3" else range(-2_500, 2_500)
    best = min(np.abs(got[middle] - np.roll(sine(1.0), shift)[middle]).max() for shift in shifts)
    assert best <= tolerance


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "not a readable audio file"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not a readable audio file"),
        (b"not audio at all" * 100, "not a readable audio file"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_empty_and_not_finite(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        read_audio(tmp_path)
    with pytest.raises(AudioError, match="holds no audio"):
        read_audio(write(tmp_path / "empty.wav", np.zeros(0, dtype=np.float32)))
    broken = sine(1.0)
    broken[5] = np.nan
    with pytest.raises(AudioError, match="NaN"):
        read_audio(write(tmp_path / "nan.wav", broken, subtype="FLOAT"))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (sine(0.19), "0.19 s long"),
        (sine(30.01), "30.01 s long"),
        (np.zeros(SAMPLE_RATE, dtype=np.float32), "silent"),
        (sine(1.0, level=2e-4), "silent"),
    ],
)
def test_clips_too_short_too_long_or_silent(tmp_path: Path, samples: Samples, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        read_clip(write(tmp_path / "clip.wav", samples, subtype="FLOAT"))


def test_clips_at_the_limits(tmp_path: Path) -> None:
    for seconds in (0.2, 30.0):
        assert len(read_clip(write(tmp_path / "clip.wav", sine(seconds)))) == seconds * SAMPLE_RATE


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, sine(0.5))
    np.testing.assert_allclose(read_audio(path), sine(0.5), atol=1 / 32768)
    for target in (tmp_path / "missing" / "out.wav", path / "out.wav"):
        with pytest.raises(AudioError, match="cannot write"):
            write_wav(target, sine(0.5))
    blocked = tmp_path / "folder.wav"
    blocked.mkdir()
    with pytest.raises(AudioError, match="cannot write"):
        write_wav(blocked, sine(0.5))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.wav", "out.wav"]


def test_levels() -> None:
    square = np.tile(np.array([1, -1], dtype=np.float32), 160)
    np.testing.assert_allclose(frame_levels_dbfs(square), [0, 0], atol=1e-5)
    np.testing.assert_allclose(frame_levels_dbfs(sine(0.1, hz=400, level=1.0)), np.full(10, -3.01), atol=0.01)
    quiet_then_loud = np.concatenate([0.01 * square, 0.1 * square])
    np.testing.assert_allclose(frame_levels_dbfs(quiet_then_loud), [-40, -40, -20, -20], atol=1e-4)
    assert level_dbfs(quiet_then_loud) == pytest.approx(-20, abs=1e-4)
    assert level_dbfs(square[:100]) == -120.0
    assert level_dbfs(np.zeros(1_600, dtype=np.float32)) == pytest.approx(-120.0)


def test_active_level_leaves_pauses_out() -> None:
    talk = sine(1.0, level=0.1)  # -23 dBFS
    pause = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    assert active_level_dbfs(np.concatenate([pause, talk, pause])) == pytest.approx(-23.0, abs=0.2)
    assert active_level_dbfs(np.zeros(0, dtype=np.float32)) == -120.0


def test_span_of_a_word_in_a_pause(rng: np.random.Generator) -> None:
    hiss = (1e-4 * rng.standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
    hiss[12_000:20_000] += sine(0.5)
    start, end = speech_span(hiss)
    assert abs(start - 12_000) <= 800
    assert abs(end - 20_000) <= 800


def test_span_of_nothing_is_everything() -> None:
    for n in (0, 100, 16_000):
        assert speech_span(np.zeros(n, dtype=np.float32)) == (0, n)
