"""Audio in, one posterior per phrase and 80 ms hop out.

`Scorer` asks the verifier at every hop; `wakeword.cascade` has the cheaper ways. All have one interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from wakeword.audio import HOP_S, HOP_SAMPLES, SAMPLE_RATE, Samples, as_float
from wakeword.decision import Posteriors
from wakeword.manifest import Manifest
from wakeword.mel import N_MELS, StreamingLogMel, n_frames
from wakeword.verifier import Verifier


class Window:
    """The last `width` columns of a growing array [R, t], in one contiguous block of memory."""

    def __init__(self, rows: int, width: int) -> None:
        self._block = np.zeros((rows, 2 * width), dtype=np.float32)
        self._width = width
        self.reset()

    def reset(self) -> None:
        """Forget all columns."""
        self._end = 0

    def push(self, columns: npt.NDArray[np.float32]) -> None:
        """Append columns [R, n], at most as many as the width."""
        n = columns.shape[1]
        if self._end + n > self._block.shape[1]:
            keep = min(self._end, self._width)
            self._block[:, :keep] = self._block[:, self._end - keep : self._end]
            self._end = keep
        self._block[:, self._end : self._end + n] = columns
        self._end += n

    def latest(self) -> npt.NDArray[np.float32]:
        """The last columns [R, width]; there must have been as many."""
        return np.ascontiguousarray(self._block[:, self._end - self._width : self._end])


class HopScorer(ABC):
    """Cuts a stream into hops and scores each, from the first full window of real audio on."""

    def __init__(self, manifest: Manifest) -> None:
        self.phrases = manifest.phrases
        self.hops = 0
        """Heard since the last reset or gap."""
        self._start_samples = 0
        self._warm_up = hops_to_fill(manifest)
        self._pending: Samples = np.zeros(0, dtype=np.float32)

    def reset(self) -> None:
        """Forget all audio; time starts at 0 again."""
        self._pending = np.zeros(0, dtype=np.float32)
        self.hops = self._start_samples = 0

    def skip(self, n_samples: int) -> None:
        """Go on after a hole of that many samples: forget all audio, so that no window spans the hole."""
        at = self._start_samples + self.hops * HOP_SAMPLES + len(self._pending)
        self.reset()
        self._start_samples = at + n_samples

    def feed(self, samples: npt.NDArray[np.generic]) -> list[tuple[float, Posteriors]]:
        """Take any number of samples; return (time at the end of the hop in s, posteriors [K]) per hop."""
        new = as_float(samples)
        waiting = np.concatenate([self._pending, new]) if len(self._pending) else new
        end = len(waiting) // HOP_SAMPLES * HOP_SAMPLES
        self._pending = waiting[end:].copy()
        start_s = self._start_samples / SAMPLE_RATE
        rows = list[tuple[float, Posteriors]]()
        for start in range(0, end, HOP_SAMPLES):
            self.hops += 1
            posteriors = self._score(waiting[start : start + HOP_SAMPLES])
            if posteriors is not None:
                rows.append((start_s + self.hops * HOP_S, posteriors))
        return rows

    @property
    def _warm(self) -> bool:
        return self.hops >= self._warm_up

    @abstractmethod
    def _score(self, hop: Samples) -> Posteriors | None:
        """Posteriors [K] after the next hop [1280]; None until there is a window of real audio."""


def hops_to_fill(manifest: Manifest) -> int:
    """Hops until the verifier's first window is full."""
    hops = 1
    while (n_frames(hops * HOP_SAMPLES) if manifest.input == "mel" else hops * HOP_SAMPLES) < manifest.window:
        hops += 1
    return hops


class Scorer(HopScorer):
    """Asks the verifier at every hop."""

    def __init__(self, verifier: Verifier) -> None:
        super().__init__(verifier.manifest)
        self._verifier = verifier
        self._takes_mel = verifier.manifest.input == "mel"
        self._mel = StreamingLogMel()
        self._window = Window(N_MELS if self._takes_mel else 1, verifier.manifest.window)

    def reset(self) -> None:
        """Forget all audio; time starts at 0 again."""
        super().reset()
        self._mel.reset()
        self._window.reset()

    def _score(self, hop: Samples) -> Posteriors | None:
        self._window.push(self._mel.feed(hop) if self._takes_mel else hop[None])
        return self._ask() if self._warm else None

    def _ask(self) -> Posteriors:
        window = self._window.latest()
        return self._verifier(window if self._takes_mel else window[0])
