"""Sound for the proof: a few seconds that reach every corner of the arithmetic, and real recordings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword.audio import SAMPLE_RATE, as_int16, read_audio

Pcm = npt.NDArray[np.int16]
MAX_S = 60.0
"""Of each recording."""


def golden_pcm() -> Pcm:
    """Five seconds, always the same: silence, noise of every level, a rising tone, a square wave, clicks."""
    rng = np.random.default_rng(20)
    second = np.arange(SAMPLE_RATE)
    levels = np.exp(rng.normal(5, 3, 100)).repeat(SAMPLE_RATE // 100)
    pieces = (
        np.zeros(SAMPLE_RATE),
        rng.normal(0, 1, SAMPLE_RATE) * levels,
        20_000 * np.sin(np.cumsum(np.linspace(0, 3.1, SAMPLE_RATE))),
        np.where(second // 20 % 2, 32767, -32768),
        np.where(rng.random(SAMPLE_RATE) < 1e-3, -32768, 0),
    )
    pcm: Pcm = np.clip(np.concatenate(pieces), -32768, 32767).astype(np.int16)
    return pcm


def recording(path: str | os.PathLike[str]) -> Pcm:
    """The first minute of a recording of any format; AudioError where it is not one."""
    pcm: Pcm = as_int16(read_audio(Path(path))[: int(MAX_S * SAMPLE_RATE)])
    return pcm
