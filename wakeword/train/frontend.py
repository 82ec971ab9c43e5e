"""`wakeword.mel` again as torch modules: for batches on any device, and inside an exported graph.

The Fourier transform is a matrix product with windowed cosines and sines, because ONNX hosts differ
in their STFT operators and many have none.

    steps     |--160--|--160--|--160--|--160--|       a frame is two and a half steps of 160 samples:
    frame 0   [0       1       2  ]                   three shifted views of the same steps, side by
    frame 1           [1       2       3  ]           side; half a step of zeros at the end lets the
                                                      last view exist and is itself never read
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword.audio import FRAME_SAMPLES
from wakeword.mel import DYNAMIC_RANGE, N_BINS, N_FFT, POWER_FLOOR, hann_window, mel_filters

REST = N_FFT - 2 * FRAME_SAMPLES
"""Samples of a frame beyond two whole steps."""


def frames(audio: Tensor) -> Tensor:
    """Cut audio [B, N] into whole frames [B, T, 400], one every 160 samples, none of them padded."""
    padded = functional.pad(audio, (0, FRAME_SAMPLES - REST))
    n_steps = padded.shape[1] // FRAME_SAMPLES
    steps = padded[:, : n_steps * FRAME_SAMPLES].reshape(audio.shape[0], n_steps, FRAME_SAMPLES)
    return torch.cat([steps[:, :-2], steps[:, 1:-1], steps[:, 2:, :REST]], dim=2)


def windowed_dft() -> Tensor:
    """Matrix [400, 402] that takes a frame to the real parts, then the imaginary parts, of its 201 bins."""
    phase = 2 * np.pi * np.outer(np.arange(N_FFT), np.arange(N_BINS)) / N_FFT
    window = hann_window().astype(np.float64)[:, None]
    basis = np.concatenate([window * np.cos(phase), -window * np.sin(phase)], axis=1)
    return torch.from_numpy(basis.astype(np.float32))


class MelPower(nn.Module):
    """Power of each frame in given bands. [B, N] -> [B, T, M], always computed in float32.

    Under autocast it leaves the lower precision: eight bits of mantissa cannot hold 80 dB.
    """

    dft: Tensor
    filters: Tensor

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.register_buffer("dft", windowed_dft(), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Audio float32 [B, N] -> power [B, T, M]."""
        if torch.is_autocast_enabled(audio.device.type):
            with torch.autocast(audio.device.type, enabled=False):
                return self._power(audio.float())
        return self._power(audio)

    def _power(self, audio: Tensor) -> Tensor:
        spectrum = frames(audio) @ self.dft
        power = spectrum[:, :, :N_BINS].square() + spectrum[:, :, N_BINS:].square()
        return power @ self.filters


class LogMel(nn.Module):
    """The frames of `wakeword.mel.log_mel`, unnormalised. Has no parameters and no state."""

    def __init__(self) -> None:
        super().__init__()
        self.power = MelPower(torch.from_numpy(mel_filters().T.copy()))

    def forward(self, audio: Tensor) -> Tensor:
        """Audio float32 [B, N] with N >= 400 -> log10 mel power [B, 80, T]."""
        power: Tensor = self.power(audio)
        return power.clamp(min=POWER_FLOOR).log10().transpose(1, 2)


def normalise(mel: Tensor) -> Tensor:
    """Whisper's scaling of each window: clamp to 8 below its own maximum, then (x + 4) / 4. [B, 80, T]."""
    floor = mel.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE
    return (torch.maximum(mel, floor) + 4) / 4
