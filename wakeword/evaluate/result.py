"""What an evaluation found, as plain values; `report.json` is these fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword.audio import Samples
from wakeword.evaluate.intervals import Interval
from wakeword.evaluate.score import OperatingPoint


@dataclass(frozen=True)
class Misses:
    """Missed of spoken phrases, with the 95 % interval of their share."""

    missed: int
    spoken: int
    interval: Interval

    @property
    def rate(self) -> float:
        """Missed / spoken; NaN for none spoken."""
        return self.missed / self.spoken if self.spoken else float("nan")


@dataclass(frozen=True)
class FalseAccepts:
    """Events without a phrase, in audible hours, with the 95 % interval of their rate."""

    count: int
    hours: float
    interval: Interval

    @property
    def per_hour(self) -> float:
        """Rate; NaN for no hours."""
        return self.count / self.hours if self.hours else float("nan")


@dataclass(frozen=True)
class AtThreshold:
    """One phrase at one threshold from the bundle: the headline."""

    phrase: str
    wanted_fa_per_hour: float
    threshold: float
    extrapolated: bool
    """The threshold was not counted on dev but extrapolated."""
    misses: dict[str, Misses]
    """By condition ("clean", "10 dB")."""
    false_accepts: FalseAccepts
    """In the negative streams."""
    mixed_false_accepts: dict[str, FalseAccepts]
    """In the mixed streams: second events, other phrases, background."""


@dataclass(frozen=True)
class AtRate:
    """One phrase where its own test curve reaches a rate of false accepts."""

    phrase: str
    wanted_fa_per_hour: float
    threshold: float
    false_accepts: FalseAccepts
    misses: dict[str, Misses]
    extrapolated_threshold: float | None
    """From the tail of the test's peaks, where the hours are too few to count this rate."""
    extrapolated_misses: dict[str, Misses] | None


@dataclass(frozen=True)
class Latency:
    """Event time less the end of the phrase, in seconds."""

    phrase: str
    condition: str
    n: int
    median_s: float
    p95_s: float


@dataclass(frozen=True)
class NoiseMisses:
    """Misses under one kind of noise, all phrases together, at the default threshold."""

    condition: str
    noise: str
    misses: Misses


@dataclass(frozen=True)
class SourceFalseAccepts:
    """False accepts in one source of background, at the default threshold."""

    source: str
    band: str
    """"wideband" or "narrow-band" (almost nothing above 5.7 kHz)."""
    hours: float
    by_phrase: dict[str, int]


@dataclass(frozen=True)
class Excerpt:
    """A few seconds to listen to."""

    phrase: str
    title: str
    score: float
    """Highest smoothed posterior."""
    threshold: float
    audio: Samples = field(repr=False)


@dataclass(frozen=True)
class Histogram:
    """Peaks in log-odds: of the spoken phrases, and of the background (2 s or more apart)."""

    phrase: str
    edges: npt.NDArray[np.float64]
    spoken: dict[str, npt.NDArray[np.int64]]
    """By condition."""
    background: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Accepted:
    """Confusables of one kind that were taken for a phrase, any phrase, at the default thresholds."""

    kind: str
    accepted: int
    spoken: int
    interval: Interval
    """Wilson's, of the share: 95 %."""
    held_out: tuple[int, int]
    """Accepted and spoken, of texts that no training has used."""
    by_phrase: dict[str, tuple[int, int]]
    """Accepted and spoken, by the phrase that they are near to."""

    @property
    def rate(self) -> float:
        """Accepted / spoken; NaN for none spoken."""
        return self.accepted / self.spoken if self.spoken else float("nan")


@dataclass(frozen=True)
class AcceptedText:
    """A text that was taken for a phrase."""

    text: str
    kind: str
    phrase: str
    """What it was taken for."""
    accepted: int
    spoken: int


@dataclass(frozen=True)
class ConfusableResult:
    """How hard to fool the detector is."""

    by_kind: tuple[Accepted, ...]
    total: Accepted
    texts: tuple[AcceptedText, ...]
    """The most accepted."""
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Everything a report shows."""

    model: str
    phrases: tuple[str, ...]
    conditions: tuple[str, ...]
    default_fa_per_hour: float
    at_threshold: tuple[AtThreshold, ...]
    at_rate: tuple[AtRate, ...]
    curves: dict[str, dict[str, list[OperatingPoint]]]
    """phrase -> condition -> points, from low to high threshold."""
    histograms: tuple[Histogram, ...]
    latencies: tuple[Latency, ...]
    by_noise: tuple[NoiseMisses, ...]
    by_source: tuple[SourceFalseAccepts, ...]
    worst_misses: tuple[Excerpt, ...]
    worst_false_accepts: tuple[Excerpt, ...]
    confusables: ConfusableResult | None = None
    """None: no confusables were played."""
    facts: dict[str, Any]
    """Seed, hours, speakers, seconds taken, model size, version."""

    def headline(self, fa_per_hour: float | None = None) -> list[AtThreshold]:
        """The rows of one operating point, the default one if None."""
        rate = self.default_fa_per_hour if fa_per_hour is None else fa_per_hour
        return [row for row in self.at_threshold if row.wanted_fa_per_hour == rate]

    def mean_miss_rate(self, condition: str, fa_per_hour: float | None = None) -> float:
        """Mean over the phrases spoken, at the bundle's thresholds."""
        rates = [row.misses[condition].rate for row in self.headline(fa_per_hour)]
        return float(np.nanmean(rates))
