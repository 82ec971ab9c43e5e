"""From posteriors to events: smoothing, threshold, refractory period, re-arm. Pure: no clock, no I/O.

A phrase fires on the hop at which its smoothed posterior reaches the threshold. It is then silent for
the refractory period, and until its smoothed posterior has once fallen below the re-arm level: a phrase that
stays in the window, or is followed by noise, makes one event.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword.errors import UsageError

Posteriors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Detection:
    """One event."""

    phrase: str
    time_s: float
    """End of the hop that fired, in seconds from the first sample."""
    score: float
    """Smoothed posterior, 0 to 1."""
    threshold: float
    """What the score had to reach."""
    probability: float | None = None
    """That it is real, where the phrase is spoken once an hour; None where the bundle is not calibrated."""
    speaker: str | None = None
    """The enrolled voice that said it, "unknown" for another one; None where a listener does not ask."""
    similarity: float | None = None
    """How alike the nearest enrolled voice is, -1 to 1; None where none was compared."""


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """How posteriors become events."""

    smoothing_hops: int = 2
    """Posteriors averaged, the newest included; 1 = none."""
    refractory_s: float = 2.0
    """Seconds of silence after an event, per phrase. Longer than the window: the cascade's posteriors fall to
    0 between suspicions, and a phrase that is still in the window would fire again."""
    rearm_ratio: float = 0.5
    """Share of the threshold below which the smoothed posterior must fall before the next event."""

    def __post_init__(self) -> None:
        if type(self.smoothing_hops) is not int or self.smoothing_hops < 1:
            raise UsageError(f"smoothing_hops is {self.smoothing_hops}; it must be a whole number from 1 on")
        if not 0 <= self.refractory_s < math.inf:
            raise UsageError(f"refractory_s is {self.refractory_s}; it must be 0 or more")
        if not 0 < self.rearm_ratio <= 1:
            raise UsageError(f"rearm_ratio is {self.rearm_ratio}; it must lie in (0, 1]")


class Decision:
    """The state between posteriors and events of K phrases."""

    def __init__(self, phrases: Sequence[str], thresholds: Sequence[float], config: DecisionConfig) -> None:
        if len(phrases) != len(thresholds):
            raise UsageError(f"{len(phrases)} phrases but {len(thresholds)} thresholds")
        if bad := [t for t in thresholds if not 0 < t <= 1]:
            raise UsageError(f"threshold {bad[0]}; a threshold lies in (0, 1]")
        self.phrases = tuple(phrases)
        self.thresholds = tuple(float(t) for t in thresholds)
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget all posteriors and events; every phrase is armed."""
        self._recent: list[list[float]] = []
        self.scores: list[float] = []
        """Smoothed posteriors of the last hop [K]; none before the first."""
        self._armed = [True] * len(self.phrases)
        self._silent_until_s = [-np.inf] * len(self.phrases)

    def skip(self) -> None:
        """The stream has a hole: forget posteriors, arm every phrase; the refractory period goes on."""
        self._recent = []
        self._armed = [True] * len(self.phrases)

    def update(self, posteriors: Posteriors, time_s: float) -> list[Detection]:
        """Take the posteriors [K] of the hop that ends at `time_s`; return the events they make."""
        self._smooth(posteriors)
        return [
            Detection(self.phrases[k], time_s, score, self.thresholds[k])
            for k, score in enumerate(self.scores)
            if self._fires(k, score, time_s)
        ]

    def join(self, posteriors: Sequence[Posteriors], others: Sequence[Decision]) -> None:
        """Go on, in the middle of a stream, where others are: what has fired there is not armed here either.

        Args:
            posteriors: of the last hops, each [K]; they make no events.
            others: decisions over the same stream; for each phrase the first that has it counts.
        """
        for row in posteriors:
            self._smooth(row)
        for k, phrase in enumerate(self.phrases):
            for other in others:
                if phrase in other.phrases:
                    there = other.phrases.index(phrase)
                    self._armed[k] = other._armed[there]
                    self._silent_until_s[k] = other._silent_until_s[there]
                    break

    def _smooth(self, posteriors: Posteriors) -> None:
        # Plain numbers: numpy takes three times as long over a handful.
        self._recent.append(posteriors.tolist())
        if len(self._recent) > self.config.smoothing_hops:
            del self._recent[0]
        self.scores = [sum(column) / len(self._recent) for column in zip(*self._recent, strict=True)]

    def _fires(self, k: int, score: float, time_s: float) -> bool:
        threshold = self.thresholds[k]
        if not self._armed[k]:
            self._armed[k] = score < self.config.rearm_ratio * threshold
            return False
        if score < threshold or time_s < self._silent_until_s[k]:
            return False
        self._armed[k] = False
        self._silent_until_s[k] = time_s + self.config.refractory_s
        return True
