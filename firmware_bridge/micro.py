"""The front end of microcontrollers: 40 features every 10 ms, computed by TFLite Micro's own code.

16 kHz, 30 ms under each frame; noise reduction, automatic gain (PCAN) and a logarithm, all in fixed point.
What the firmware of ESPHome computes, by the package `pymicro-features` that holds the same code.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.network import N_FEATURES, Int8
from wakeword.audio import FRAME_SAMPLES, as_float, as_int16
from wakeword.errors import ExportError

FRAMES_UNHEARD = 2
"""Frames of 10 ms that pass before the first has its 30 ms."""
FEATURE_UNIT = 0.0390625
"""`pymicro-features` gives the front end's uint16 times this."""


class MicroFeatures:
    """Features of a stream; any block size gives the same."""

    def __init__(self) -> None:
        try:
            from pymicro_features import MicroFrontend
        except ModuleNotFoundError as err:
            raise ExportError(
                "the micro front end needs pymicro-features; run: pip install 'wakeword[firmware]'"
            ) from err
        self._frontend = MicroFrontend()
        self.reset()

    def reset(self) -> None:
        """Forget all audio, and what was learnt of the noise in it."""
        self._frontend.reset()
        self._waiting = b""

    def feed(self, samples: npt.NDArray[np.generic]) -> Int8:
        """Features of the frames that these samples complete: int8 [F, 40].

        Samples [N] are int16, or float32 in [-1, 1].
        """
        pcm = samples if samples.dtype == np.int16 else as_int16(as_float(samples))
        data = self._waiting + np.ascontiguousarray(pcm, dtype="<i2").tobytes()
        step = 2 * FRAME_SAMPLES  # the most, and the least, that it takes at once
        whole = len(data) // step * step
        self._waiting = data[whole:]
        rows = [
            features
            for start in range(0, whole, step)
            if (features := self._frontend.process_samples(data[start : start + step]).features)
        ]
        return to_int8(np.asarray(rows, dtype=np.float64).reshape(-1, N_FEATURES) / FEATURE_UNIT)


def to_int8(values: npt.NDArray[np.float64]) -> Int8:
    """The front end's uint16 as ESPHome quantises them: with integers, which rounding by the scale is not."""
    return np.clip((np.rint(values).astype(np.int64) * 256 + 333) // 666 - 128, -128, 127).astype(np.int8)


def micro_features(samples: npt.NDArray[np.generic]) -> Int8:
    """Features of a whole recording, from a front end that heard nothing before. [N] -> int8 [F, 40]."""
    return MicroFeatures().feed(samples)
