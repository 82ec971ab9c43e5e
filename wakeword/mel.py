"""Log-mel spectra as Whisper defines them, made once per 10 ms of audio and shared by all models.

80 bands, 25 ms Hann window, 10 ms step, Slaney mel scale and area normalisation, log10 of power
(Radford et al. 2022, https://arxiv.org/abs/2212.04356). Two things differ from Whisper's own code, both
so that a stream can be followed: frames are not centred (frame i covers samples [160 i, 160 i + 400),
nothing is padded), and the "8 below the maximum" clamp looks at the verifier's window instead of the
whole clip (`normalise`). The torch and in-graph versions (`wakeword.train.frontend`) read these same tables.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from wakeword.audio import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE, Samples

N_MELS = 80
N_FFT = 400
"""Samples under one frame: 25 ms."""
N_BINS = N_FFT // 2 + 1
POWER_FLOOR = 1e-10
DYNAMIC_RANGE = 8.0
"""log10 units kept below the window's maximum: 80 dB."""

Mel = npt.NDArray[np.float32]


def n_frames(n_samples: int) -> int:
    """Whole frames in that many samples."""
    return max(0, 1 + (n_samples - N_FFT) // FRAME_SAMPLES)


def n_samples(n_frames: int) -> int:
    """Samples under that many consecutive frames."""
    return (n_frames - 1) * FRAME_SAMPLES + N_FFT


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slaney's scale (Auditory Toolbox): linear to 1 kHz, logarithmic above."""
    log_part = 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1000) / np.log(6.4)
    return np.where(hz < 1000, hz * 3 / 200, log_part)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@cache
def mel_filters(n_mels: int = N_MELS) -> Mel:
    """Triangular filters [n_mels, 201] over 0 to 8,000 Hz, each of unit area in Hz."""
    nyquist = SAMPLE_RATE / 2
    corners = _mel_to_hz(np.linspace(0, _hz_to_mel(np.array(nyquist)), n_mels + 2))
    bins = np.linspace(0, nyquist, N_BINS)
    low, mid, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    triangles = np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
    filters = (triangles * 2 / (high - low)).astype(np.float32)
    filters.setflags(write=False)
    return filters


@cache
def hann_window() -> Mel:
    """Periodic Hann window [400]."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)
    window.setflags(write=False)
    return window


@cache
def _filters_by_part() -> Mel:
    """Filters [402, 80] over interleaved squares of real and imaginary parts: one product sums both."""
    return np.ascontiguousarray(np.repeat(mel_filters(), 2, axis=1).T)


def log_mel(samples: Samples) -> Mel:
    """Log10 mel power of every whole frame, unclamped above the floor. [N] -> [80, T]."""
    T = n_frames(len(samples))
    if T == 0:
        return np.zeros((N_MELS, 0), dtype=np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::FRAME_SAMPLES][:T]
    return _log_mel_of_frames(frames * hann_window())


def _log_mel_of_frames(windowed: Mel) -> Mel:
    """[T, 400] -> [80, T]. The hop path: each line takes microseconds, so does each line added."""
    spectrum = np.fft.rfft(windowed, axis=1).astype(np.complex64, copy=False)
    parts = spectrum.view(np.float32)
    power = (parts * parts) @ _filters_by_part()
    return np.asarray(np.log10(np.maximum(power, POWER_FLOOR, out=power), out=power).T)


def normalise(mel: Mel) -> Mel:
    """Whisper's scaling of one window of log-mel: clamp to 8 below its maximum, then (x + 4) / 4. [80, T]."""
    return np.asarray((np.maximum(mel, mel.max() - DYNAMIC_RANGE) + 4) / 4, dtype=np.float32)


class StreamingLogMel:
    """Incremental `log_mel`: the same frames, whatever the block sizes; memory is taken once."""

    def __init__(self) -> None:
        # What is left of the audio before (less than a frame), then room for one hop.
        self._audio = np.zeros(N_FFT + HOP_SAMPLES, dtype=np.float32)
        views = np.lib.stride_tricks.sliding_window_view(self._audio, N_FFT)
        self._frames = views[::FRAME_SAMPLES]
        self._windowed = np.zeros(self._frames.shape, dtype=np.float32)
        self._left = 0

    def reset(self) -> None:
        """Forget all audio."""
        self._left = 0

    def feed(self, samples: Samples) -> Mel:
        """Take any number of samples [N]; return the frames they complete [80, t]."""
        if len(samples) <= HOP_SAMPLES:
            return self._feed(samples)
        pieces = [self._feed(samples[i : i + HOP_SAMPLES]) for i in range(0, len(samples), HOP_SAMPLES)]
        return np.concatenate(pieces, axis=1)

    def _feed(self, samples: Samples) -> Mel:
        end = self._left + len(samples)
        self._audio[self._left : end] = samples
        T = n_frames(end)
        self._left = end - T * FRAME_SAMPLES
        if T == 0:
            return np.zeros((N_MELS, 0), dtype=np.float32)
        windowed = np.multiply(self._frames[:T], hann_window(), out=self._windowed[:T])
        self._audio[: self._left] = self._audio[T * FRAME_SAMPLES : end]
        return _log_mel_of_frames(windowed)
