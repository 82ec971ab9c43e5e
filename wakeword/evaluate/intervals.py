"""95 % intervals for the rates in a report.

Wilson's score interval for shares, Garwood's exact interval for counts per hour, and a bootstrap over
speakers where one speaker gives several clips (clips of one voice are missed together).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Where the true rate lies, with 95 % confidence."""

    low: float
    high: float


def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of a share of k in n; [0, 1] for n = 0."""
    if n == 0:
        return Interval(0.0, 1.0)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * float(np.sqrt(k * (n - k) / n + z * z / 4))
    return Interval(0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def poisson_rate(k: int, hours: float, confidence: float = CONFIDENCE) -> Interval:
    """Garwood's exact interval of a rate per hour, from k events in that many hours.

    For k = 0 all the doubt is on one side: the upper end is 3.0 / hours. [0, inf] for no hours.
    """
    if hours <= 0:
        return Interval(0.0, float("inf"))
    if k == 0:
        return Interval(0.0, float(-np.log(1 - confidence)) / hours)
    tail = (1 - confidence) / 2
    low = float(stats.chi2.ppf(tail, 2 * k)) / 2
    high = float(stats.chi2.ppf(1 - tail, 2 * k + 2)) / 2
    return Interval(low / hours, high / hours)


def speaker_bootstrap(
    missed: Sequence[bool],
    speakers: Sequence[str],
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of the miss rate, drawing whole speakers, but never narrower than Wilson's.

    A bootstrap of one or two misses is too narrow, of none it is a point; with fewer than 5 speakers it says
    nothing. Clips of one speaker going together can only widen what Wilson's formula gives.
    """
    total, n = sum(missed), len(missed)
    alone = wilson(total, n, confidence)
    names, index = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    if total in (0, n) or len(names) < 5:
        return alone
    misses = np.bincount(index, weights=np.asarray(missed, dtype=float))
    clips = np.bincount(index).astype(float)
    drawn = rng.integers(len(names), size=(n_resamples, len(names)))
    rates = misses[drawn].sum(axis=1) / clips[drawn].sum(axis=1)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(rates, [tail, 100 - tail])
    return Interval(min(float(low), alone.low), max(float(high), alone.high))


def rate_text(k: int, hours: float) -> str:
    """A rate per hour in words: "0.62 (95 %: 0.20 to 1.4)", or for none "0 (95 %: < 3.0/4.9 h = 0.61)"."""
    interval = poisson_rate(k, hours)
    if k == 0:
        return f"0 (95 %: < {interval.high:.2g})"
    return f"{k / hours:.2g} (95 %: {interval.low:.2g} to {interval.high:.2g})"
