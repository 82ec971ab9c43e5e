"""Thresholds from wanted rates of false accepts.

Counted on hours of audio without the phrase; extrapolated where these are too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from wakeword.bundle import Threshold
from wakeword.decision import DecisionConfig
from wakeword.errors import DataError
from wakeword.evaluate.score import PhraseScores
from wakeword.evaluate.trace import Trace
from wakeword.manifest import Calibration
from wakeword.verifier import logit

MIN_EVENTS = 3
"""A rate of false accepts is counted, not extrapolated, where the hours hold this many."""
TAIL_PEAKS, TAIL_PER_HOUR = 30, 60.0
"""Highest negative peaks that the tail is fitted to: so many, but of each hour no more than that. Peaks that
come every few seconds are the bulk, what the detector makes of ordinary talk; it falls off more slowly."""
LEAST_TAIL_PEAKS = 10
"""Fitted to even so: fewer tell nothing."""
MARGIN_Z = 1.28
"""Standard deviations by which a tail's rate and scale are taken higher than is most likely; 90 % of a normal
distribution lie below. A count of n, and a mean of n exponential excesses, have a relative one of
1 / sqrt(n). `benchmarks/thresholds.py` has what comes of it on real background."""
PRIOR = 0.01
"""How strongly a calibration's slope is held to 1, against one hour's worth of evidence."""
LOWEST = 0.1
"""No threshold lies lower: background too quiet to set one says nothing of the next hour's."""


def threshold_allowing(scores: PhraseScores, n_false_accepts: int) -> float:
    """The lowest threshold with at most so many events in the negative streams.

    It lies half-way, in log-odds, between two neighbouring peaks, or 0.1 above the highest. 1.0 where even
    that has more (scores saturated at 1).
    """
    peaks = np.unique(scores.negative_peaks(2 * n_false_accepts + 20))[::-1]
    best, n_before = 1.0, 0
    # Events need not be as many as peaks: a slow decay is one event, and far down the detector never re-arms
    # and falls silent. That is no threshold to use, so the search ends where lowering it lessens the events.
    log_odds = logit(peaks.astype(np.float32)).astype(np.float64)
    above = [log_odds[0] + 0.2, *log_odds] if len(peaks) else []
    for high, low in zip(above, log_odds, strict=False):
        candidate = sigmoid((high + low) / 2)
        n = scores.false_accepts(candidate)
        if not n_before <= n <= n_false_accepts:
            break
        best, n_before = candidate, n
    return best


def logit_of(posterior: float) -> float:
    """Log-odds of a posterior."""
    return float(logit(np.asarray([posterior], dtype=np.float32))[0])


def sigmoid(log_odds: float) -> float:
    """Posterior of log-odds."""
    return float(1 / (1 + np.exp(-log_odds)))


@dataclass(frozen=True)
class Tail:
    """Exponential tail of negative peaks in log-odds: how many per hour exceed a score.

    Exponential, not generalised Pareto: with some 30 peaks the Pareto's shape is mostly chance, and it
    decides all.
    """

    floor: float
    """Log-odds above which the fit holds."""
    per_hour: float
    """Peaks per hour above the floor."""
    scale: float
    """Mean excess over the floor, in log-odds."""
    n: int = 0
    """Peaks it was found from; 0 = it was assumed."""

    def threshold(self, fa_per_hour: float) -> float:
        """Posterior that so many peaks per hour exceed, by extrapolation."""
        return sigmoid(self.floor + self.scale * float(np.log(self.per_hour / fa_per_hour)))

    def raised(self, z: float = MARGIN_Z) -> Tail:
        """The same with rate and scale `z` standard deviations higher."""
        more = 1 + (z / float(np.sqrt(self.n)) if self.n else 0.0)
        return replace(self, per_hour=more * self.per_hour, scale=more * self.scale)

    def fa_per_hour(self, threshold: float) -> float:
        """Peaks per hour over a posterior, by extrapolation."""
        excess = logit_of(threshold) - self.floor
        return self.per_hour * float(np.exp(-excess / self.scale))


def fit_tail(scores: PhraseScores) -> Tail:
    """Fit the highest negative peaks, 30 of half an hour or more and 10 of a few minutes.

    DataError where the negative streams hold fewer than 3. Peaks at 0, where the cascade's student suspected
    nothing, say nothing of the tail and are left out; where fewer than 3 are left, the tail is taken to fall
    off by a factor e per unit of log-odds.
    """
    n_peaks = min(max(int(TAIL_PER_HOUR * scores.hours), LEAST_TAIL_PEAKS), TAIL_PEAKS)
    posteriors = scores.negative_peaks(n_peaks + 1)
    if len(posteriors) < 3 or scores.hours <= 0:
        raise DataError(
            f"{scores.hours * 60:.1f} minutes of audible background are too few to set a threshold; "
            "give at least 10 minutes of speech without the phrase"
        )
    peaks = logit(posteriors[posteriors > 0].astype(np.float32)).astype(np.float64)
    if len(peaks) < 3:
        return Tail(float(peaks.max(initial=logit_of(LOWEST))), 1 / scores.hours, 1.0)
    floor = float(peaks[-1])
    excess = peaks[:-1] - floor
    return Tail(floor, len(excess) / scores.hours, max(float(excess.mean()), 0.05), len(excess))


def calibrate(
    negative: Sequence[Trace], fa_per_hour: Sequence[float], config: DecisionConfig
) -> dict[str, dict[float, Threshold]]:
    """Each phrase's threshold for each wanted rate of false accepts, from streams without the phrases.

    Counted where the hours hold at least 3 such events; else extrapolated from the tail of the peaks, high
    enough that the rate is kept with 90 % confidence in that tail, never below a threshold that was counted
    for a higher rate, nor below 0.1. DataError for too little audio.
    """
    if not negative:
        raise DataError("no background to set thresholds on; give recordings without the phrase")
    return {
        phrase: calibrate_phrase(PhraseScores(phrase, config, [], negative), fa_per_hour)
        for phrase in negative[0].phrases
    }


def calibrate_phrase(scores: PhraseScores, fa_per_hour: Sequence[float]) -> dict[float, Threshold]:
    """One phrase's thresholds; see `calibrate`."""
    tail = fit_tail(scores).raised()
    found, floor = dict[float, Threshold](), LOWEST
    for rate in sorted(fa_per_hour, reverse=True):
        allowed = int(rate * scores.hours + 1e-9)
        counted = allowed >= MIN_EVENTS
        value = threshold_allowing(scores, allowed) if counted else tail.threshold(rate)
        floor = max(floor, value)
        found[rate] = Threshold(min(floor, 1.0), not counted)
    return dict(sorted(found.items()))


SPOKEN_PER_HOUR = 1.0
"""How often a phrase is taken to be spoken, for the probability that a detection is real."""


def fit_probability(spoken: Sequence[float], background: Sequence[float], hours: float) -> Calibration:
    """Platt's curve through the peaks of spoken phrases and of so many hours of background.

    Each spoken phrase counts as its share of one an hour, each background peak as its share of an hour.
    Peaks of 0, where nothing was suspected, make no detection and do not count. A weak prior (slope about 1)
    stands in where the two do not overlap.
    """
    positive, negative = (
        logit(np.asarray([peak for peak in peaks if peak > 0], dtype=np.float32)).astype(np.float64)
        for peaks in (spoken, background)
    )
    x = np.concatenate([positive, negative])
    sign = np.concatenate([np.ones(len(positive)), -np.ones(len(negative))])
    weight = np.concatenate(
        [
            np.full(len(positive), SPOKEN_PER_HOUR / max(len(spoken), 1)),
            np.full(len(negative), 1 / max(hours, 1e-3)),
        ]
    )

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        slope, offset = parameters
        fit = float(np.sum(weight * np.logaddexp(0, -sign * (slope * x + offset))))
        return fit + PRIOR * float((slope - 1) ** 2 + (offset / 10) ** 2)

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return Calibration(float(max(slope, 0.05)), float(offset))
