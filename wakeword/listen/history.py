"""The last seconds of a stream: what a new model must hear to go on where the old one was, and clips."""

from __future__ import annotations

import numpy as np

from wakeword.audio import HOP_SAMPLES, Samples


class History:
    """The newest samples of a stream by their place in it. Begins on a hop, `origin` being the first."""

    def __init__(self, min_samples: int) -> None:
        """Keep at least so many, as far as there are."""
        self._least = -(-min_samples // HOP_SAMPLES) * HOP_SAMPLES
        self._block = np.zeros(2 * self._least + 2 * HOP_SAMPLES, dtype=np.float32)
        self.restart(0)

    def restart(self, at: int) -> None:
        """Forget all: the next sample is number `at` of the stream, and hops are counted from it."""
        self.origin = self.start = self.end = at

    def append(self, samples: Samples) -> None:
        """Take the next samples [n], at most a hop."""
        if self.end - self.start + len(samples) > len(self._block):
            self._trim()
        at = self.end - self.start
        self._block[at : at + len(samples)] = samples
        self.end += len(samples)

    def until_hop(self) -> int:
        """Samples that are missing to the end of the hop."""
        return HOP_SAMPLES - (self.end - self.origin) % HOP_SAMPLES

    def cut(self, start: int, end: int) -> tuple[int, Samples]:
        """A copy of samples `start` to `end` as far as they are kept, and the number of its first."""
        first = min(max(start, self.start), self.end)
        last = max(min(end, self.end), first)
        return first, self._block[first - self.start : last - self.start].copy()

    def _trim(self) -> None:
        """Drop whole hops from the old end."""
        surplus = (self.end - self.start - self._least) // HOP_SAMPLES * HOP_SAMPLES
        kept = self.end - self.start - surplus
        self._block[:kept] = self._block[surplus : surplus + kept]
        self.start += surplus
