"""When the firmware fires: ESPHome's rule in integers, slice by slice, and all events of a stream at once.

A slice is one feature frame of 10 ms; every `stride` slices there is a new posterior (0 to 255).

    fires          sum of the last `window` posteriors > cutoff x window
    then           all posteriors are forgotten, and 100 slices pass unheard: only slices are counted during
                   which the newest posterior is below the cutoff. So it is at the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword.errors import UsageError

SLICES_UNHEARD = 100
"""MIN_SLICES_BEFORE_DETECTION of ESPHome 2026.6; releases of 2024 had 74."""
SLICE_S = 0.01
MAX_WINDOW = 33
"""Steps; a longer one would still hold what was forgotten when the firmware listens again."""

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FirmwareRule:
    """Cutoff and window of one model."""

    cutoff: int
    """0 to 255."""
    window: int
    """Posteriors that are averaged."""
    stride: int = 3
    """Slices from one posterior to the next."""

    def __post_init__(self) -> None:
        if not 0 < self.cutoff < 255:
            raise UsageError(f"cutoff {self.cutoff}; it lies from 1 to 254")
        if not 1 <= self.window <= MAX_WINDOW:
            raise UsageError(f"window {self.window}; it lies from 1 to {MAX_WINDOW}")

    @property
    def probability(self) -> float:
        """The cutoff as a manifest has it: int(255 x it) is the cutoff."""
        return round((self.cutoff + 0.5) / 255, 4)


class FirmwareDecision:
    """The firmware's state between posteriors and events."""

    def __init__(self, rule: FirmwareRule) -> None:
        self.rule = rule
        self.reset()

    def reset(self) -> None:
        """As after switching on."""
        self._forget()
        self._new = False

    def _forget(self) -> None:
        self._recent, self._at = [0] * self.rule.window, 0
        self._unheard = -SLICES_UNHEARD

    def slice(self, posterior: int | None) -> bool:
        """Pass one slice, with a posterior where it completes a step; whether the phrase is detected."""
        if posterior is not None:
            self._at = (self._at + 1) % self.rule.window
            self._recent[self._at] = posterior
            self._new = True
        if self._recent[self._at] < self.rule.cutoff:
            self._unheard = min(self._unheard + 1, 0)
        if not self._new or self._unheard < 0:
            return False
        self._new = False
        if sum(self._recent) <= self.rule.cutoff * self.rule.window:
            return False
        self._forget()
        return True


class PosteriorTrace:
    """The posteriors of a stream, to be asked for its events by many rules."""

    def __init__(self, posteriors: UInt8, stride: int = 3) -> None:
        """`posteriors` [S]: one for every `stride` slices."""
        self.posteriors, self.stride = posteriors.astype(np.int64), stride
        self._total = np.concatenate([[0], np.cumsum(self.posteriors)])

    def sums(self, window: int) -> npt.NDArray[np.int64]:
        """Sum of the last `window` posteriors at each step [S]; zeros before the first."""
        starts = np.maximum(np.arange(1, len(self._total)) - window, 0)
        sums: npt.NDArray[np.int64] = self._total[1:] - self._total[starts]
        return sums

    def events(self, rule: FirmwareRule) -> npt.NDArray[np.int64]:
        """Slices, counted from 0, on which `FirmwareDecision` fires [E]."""
        return np.fromiter(self._events(rule), dtype=np.int64)

    def _events(self, rule: FirmwareRule) -> Iterator[int]:
        above = np.flatnonzero(self.sums(rule.window) > rule.cutoff * rule.window)
        if not len(above):
            return
        # Quiet slices up to and including each slice: those of a step have its posterior until the next one.
        quiet = np.repeat(self.posteriors < rule.cutoff, self.stride)
        counted = np.concatenate([np.ones(self.stride - 1, dtype=np.int64), quiet]).cumsum()
        counted = counted[: len(self.posteriors) * self.stride]
        ready = int(np.searchsorted(counted, SLICES_UNHEARD))
        is_above = np.zeros(len(self.posteriors), dtype=bool)
        is_above[above] = True
        while ready < len(counted):
            step = (ready + 1) // self.stride - 1  # the newest at that slice
            if is_above[step]:
                event = ready
            else:
                at = int(np.searchsorted(above, step + 1))
                if at == len(above):
                    return
                step = int(above[at])
                event = step * self.stride + self.stride - 1
            yield event
            # The posterior is forgotten, so the slices to the next one are quiet whatever it was.
            rest = (step + 1) * self.stride + self.stride - 2 - event
            last = min(event + rest, len(counted) - 1)
            ready = int(np.searchsorted(counted, counted[last] + SLICES_UNHEARD - rest))
