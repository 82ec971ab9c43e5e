"""Cutoff and window of a firmware model, chosen on dev for a budget of false accepts per hour.

Counted where the hours are long enough to hold an event at that rate; else the tail of the highest window
means, in log-odds, says how much further up the cutoff has to go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.decision import FirmwareRule
from firmware_bridge.judge import Run, false_accepts, hours, outcome
from firmware_bridge.network_file import Point
from wakeword.errors import DataError

WINDOWS = (1, 2, 3, 5, 8)
"""Steps of 30 ms to average over, tried in turn."""
LOWEST, HIGHEST = 26, 253
"""Cutoffs; below a tenth background too quiet to set one says nothing of the next hour's."""
TAIL_PEAKS = 30
APART_STEPS = 66
"""Peaks nearer than 2 s are one."""


def choose_points(
    mixed: Mapping[str, Sequence[Run]], negative: Sequence[Run], phrase: str, rates: Sequence[float]
) -> dict[str, Point]:
    """The operating point for each rate of false accepts per hour.

    Of the windows, each at the lowest cutoff within the rate, the one with the fewest misses.
    """
    if hours(negative) * 60 < 10:
        raise DataError(
            f"{hours(negative) * 60:.1f} minutes of audible background are too few to set a cutoff; "
            "give at least 10 minutes without the phrase"
        )
    return {f"{rate:g}": _best(mixed, negative, phrase, rate) for rate in rates}


def _best(mixed: Mapping[str, Sequence[Run]], negative: Sequence[Run], phrase: str, rate: float) -> Point:
    points = list[Point]()
    for window in WINDOWS:
        rule = FirmwareRule(cutoff_for(negative, window, rate), window)
        misses = {name: outcome(runs, phrase, rule).miss_rate for name, runs in mixed.items()}
        points.append(Point(rule, false_accepts(negative, rule), round(hours(negative), 3), misses))
    return min(points, key=lambda point: sum(point.misses.values()))


def cutoff_for(negative: Sequence[Run], window: int, rate: float) -> int:
    """The lowest cutoff at which the background makes no more false accepts per hour than wanted."""
    allowed = rate * hours(negative)
    low, high = LOWEST, HIGHEST
    while low < high:  # events grow rarer with the cutoff, but for chance; the search ends where they are few
        middle = (low + high) // 2
        if false_accepts(negative, FirmwareRule(middle, window)) <= allowed:
            high = middle
        else:
            low = middle + 1
    return low if allowed >= 1 else max(low, _extrapolated(negative, window, rate))


def _extrapolated(negative: Sequence[Run], window: int, rate: float) -> int:
    """Cutoff of a rate too low to be counted, from the exponential tail of the peaks in log-odds."""
    peaks = np.sort(np.concatenate([_peaks(run, window) for run in negative]))[::-1][: TAIL_PEAKS + 1]
    floor, scale = peaks[-1], max(float((peaks[:-1] - peaks[-1]).mean()), 0.05)
    per_hour = (len(peaks) - 1) / hours(negative)
    log_odds = floor + scale * np.log(per_hour / rate)
    return int(np.clip(np.ceil(255 / (1 + np.exp(-log_odds))), LOWEST, HIGHEST))


def _peaks(run: Run, window: int) -> npt.NDArray[np.float64]:
    """The highest mean of each stretch of 2 s, in log-odds."""
    peaks = np.clip(stretch_peaks(run.trace.sums(window) / (255 * window)), 1 / 510, 1 - 1 / 510)
    log_odds: npt.NDArray[np.float64] = np.log(peaks / (1 - peaks))
    return log_odds


def stretch_peaks(steps: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """The highest of each whole stretch of 2 s. [S] -> [S // 66]."""
    whole = steps[: len(steps) // APART_STEPS * APART_STEPS].reshape(-1, APART_STEPS)
    highest: npt.NDArray[np.floating[Any]] = whole.max(axis=1)
    return highest
