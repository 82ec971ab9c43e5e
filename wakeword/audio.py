"""Audio as the rest of the project knows it: float32, mono, 16 kHz, within [-1, 1].

Files of any common format and rate become that here (`read_clip`); int16 becomes
float here (`as_float`); nowhere else is anything converted or rescaled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wakeword.errors import AudioError
from wakeword.files import written_whole

SAMPLE_RATE = 16_000
"""Hertz, everywhere."""
HOP_SAMPLES = 1_280
"""Samples between two posteriors: 80 ms."""
HOP_S = HOP_SAMPLES / SAMPLE_RATE
INT16_SCALE = 32_768
FRAME_SAMPLES = 160
"""Samples between two log-mel frames, and the grain of every energy measure here: 10 ms."""

MAX_AMPLITUDE = 4.0
"""More than any filter's overshoot: float samples beyond it are on another scale than [-1, 1]."""

Samples: TypeAlias = npt.NDArray[np.float32]

MIN_CLIP_S = 0.2
MAX_CLIP_S = 30.0
SILENCE_DBFS = -70.0
"""A recording that never gets louder than this holds nothing to learn from or to count as audible."""


def as_float(samples: npt.NDArray[np.generic]) -> Samples:
    """Return mono samples [N] as float32 in [-1, 1].

    int16 is divided by 32,768 and float32 is taken as it is. Any other type, shape or scale, NaN and
    infinity raise AudioError: guessing a scale is how silent detectors are made.
    """
    if samples.ndim != 1:
        raise AudioError(f"expected mono samples of shape [N], got shape {list(samples.shape)}")
    if samples.dtype == np.int16:
        return np.asarray(np.divide(samples, INT16_SCALE, dtype=np.float32))
    if samples.dtype != np.float32:
        raise AudioError(f"expected int16 or float32 samples, got {samples.dtype}; convert them first")
    peak = float(np.abs(samples).max(initial=0))  # NaN and infinity pass through abs and max
    if not np.isfinite(peak):
        raise AudioError("samples hold NaN or infinity; the source is broken")
    if peak > MAX_AMPLITUDE:
        raise AudioError(f"float32 samples reach {peak:.0f}; they must lie within [-1, 1]")
    return np.asarray(samples, dtype=np.float32)


def as_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """Round float32 samples in [-1, 1] to int16; the inverse of `as_float`, for storage."""
    return np.clip(np.rint(samples * INT16_SCALE), -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)


def mix_down(samples: npt.NDArray[np.float32]) -> Samples:
    """Average the channels of [N, C] samples to mono [N]."""
    return samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples


def read_audio(path: str | os.PathLike[str]) -> Samples:
    """Read a whole audio file as mono float32 at 16 kHz.

    Any format libsndfile reads (WAV, FLAC, Ogg Vorbis/Opus, MP3, AIFF), any rate, any number of
    channels. Raises AudioError for a missing, empty, corrupt or non-finite file.
    """
    import soundfile  # 8 MB that a listener to a microphone has no use for
    import soxr

    source = Path(path)
    if not source.is_file():
        raise AudioError(f"no such file: {source}")
    try:
        samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as err:
        raise AudioError(f"{source}: not a readable audio file ({err})") from err
    if not len(samples):
        raise AudioError(f"{source}: holds no audio")
    if not np.isfinite(samples).all():
        raise AudioError(f"{source}: holds NaN or infinite samples")
    mono = mix_down(samples)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    return np.clip(mono, -1.0, 1.0).astype(np.float32, copy=False)


def read_clip(path: str | os.PathLike[str]) -> Samples:
    """Read one short recording of a phrase; see `read_audio`.

    Also raises AudioError when it is shorter than 0.2 s, longer than 30 s, or silent.
    """
    samples = read_audio(path)
    seconds = len(samples) / SAMPLE_RATE
    if not MIN_CLIP_S <= seconds <= MAX_CLIP_S:
        raise AudioError(f"{path}: {seconds:.2f} s long; a clip has {MIN_CLIP_S} to {MAX_CLIP_S:.0f} s")
    if level_dbfs(samples) < SILENCE_DBFS:
        raise AudioError(f"{path}: silent (below {SILENCE_DBFS:.0f} dBFS throughout)")
    return samples


def write_wav(path: str | os.PathLike[str], samples: Samples) -> None:
    """Write mono float32 samples as a 16-bit WAV at 16 kHz, whole or not at all."""
    import soundfile

    target = Path(path)
    try:
        with written_whole(target) as partial:
            soundfile.write(partial, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    except (soundfile.LibsndfileError, OSError) as err:
        raise AudioError(f"cannot write {target}: {err}") from err


def frame_levels_dbfs(samples: Samples) -> npt.NDArray[np.float32]:
    """Level of each whole 10 ms frame in dBFS (full-scale square wave = 0), floor -120. [N] -> [N // 160]."""
    n_frames = len(samples) // FRAME_SAMPLES
    frames = samples[: n_frames * FRAME_SAMPLES].reshape(n_frames, FRAME_SAMPLES)
    power = np.square(frames, dtype=np.float32).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)), dtype=np.float32)


def level_dbfs(samples: Samples) -> float:
    """Loudest 10 ms of the samples, in dBFS; -120 for nothing."""
    levels = frame_levels_dbfs(samples)
    return float(levels.max()) if len(levels) else -120.0


ACTIVE_RANGE_DB = 30.0
"""Frames within this much of a clip's loudest (95th percentile) frame count as active speech."""


def _active_frames(samples: Samples) -> npt.NDArray[np.bool_]:
    levels = frame_levels_dbfs(samples)
    if not len(levels):
        return np.zeros(0, dtype=bool)
    loud, floor = np.percentile(levels, [95, 10])
    # In a noisy clip the floor may lie within the range: then half-way (in dB) is the best guess.
    return np.asarray(levels >= max(loud - ACTIVE_RANGE_DB, min((loud + floor) / 2, loud - 6)))


def active_level_dbfs(samples: Samples) -> float:
    """Mean level of the active speech in dBFS (after the idea of ITU-T P.56); -120 for silence."""
    active = _active_frames(samples)
    power = np.power(10.0, frame_levels_dbfs(samples)[active] / 10)
    return float(10 * np.log10(max(power.mean(), 1e-12))) if active.any() else -120.0


EMPHASIS = 0.7
UTTERANCE_S = 1.5
"""A span longer than this is doubted: what pads the clip may have passed for its noise floor."""
PAUSE_S = 0.3
"""Longest pause within an utterance."""


def speech_span(samples: Samples) -> tuple[int, int]:
    """First and one-past-last sample of the utterance in a clip that holds one.

    By energy, in steps of 10 ms, after a high-pass against hum and thumps: of the stretches that stand
    out, the one with most energy above the threshold (pauses up to 0.3 s bridged, bursts below 50 ms
    ignored). The whole clip where nothing stands out.
    """
    emphasised = samples - np.float32(EMPHASIS) * np.concatenate([samples[:1], samples[:-1]])
    levels = frame_levels_dbfs(emphasised)
    if not len(levels):
        return 0, len(samples)
    start, end = _loudest_stretch(levels, float(np.percentile(levels, 10)))
    if (end - start) * FRAME_SAMPLES > UTTERANCE_S * SAMPLE_RATE:
        heard = levels[levels > levels.max() - 70]
        start, end = _loudest_stretch(levels, float(np.percentile(heard, 20)))
    return (start * FRAME_SAMPLES, end * FRAME_SAMPLES) if end > start else (0, len(samples))


def _loudest_stretch(levels: npt.NDArray[np.float32], floor_dbfs: float) -> tuple[int, int]:
    """First and one-past-last frame of the stretch with most energy above half-way from floor to loud."""
    loud = float(np.percentile(levels, 95))
    threshold = max(loud - 25, min((loud + floor_dbfs) / 2, loud - 3))
    steady = np.flatnonzero(np.convolve(levels >= threshold, np.ones(5), mode="same") >= 4)
    if not len(steady):
        return 0, 0
    pauses = np.flatnonzero(np.diff(steady) > PAUSE_S * SAMPLE_RATE / FRAME_SAMPLES)
    best = max(np.split(steady, pauses + 1), key=lambda s: float(np.maximum(levels[s] - threshold, 0).sum()))
    return max(0, int(best[0]) - 2), min(len(levels), int(best[-1]) + 3)


def fft_length(n: int) -> int:
    """Smallest 2^a or 3 * 2^a or 5 * 2^a that holds n: lengths the FFT is quick at."""
    return min(m << max(0, int(np.ceil(np.log2(n / m)))) for m in (1, 3, 5))
