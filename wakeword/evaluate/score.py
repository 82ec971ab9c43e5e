"""From traces to rates: events at any threshold, hits and false accepts, DET curves.

`events` gives exactly what `wakeword.decision.Decision` would emit, for one phrase, but looks only at the
hops that matter: a curve of 120 thresholds over hours of audio takes about a second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wakeword.decision import DecisionConfig
from wakeword.evaluate.streams import Spoken
from wakeword.evaluate.trace import Trace

Array = npt.NDArray[np.float64]

HIT_AFTER_S = 1.0
"""An event this long after the end of the phrase still counts as its detection."""
PEAK_APART_S = 2.0
"""Two negative peaks closer than this are one."""
HIGHEST_PEAKS = 20
"""Of the negative streams: a curve goes through each."""


def smooth(scores: npt.NDArray[np.float32], hops: int) -> Array:
    """Mean of the last `hops` scores at each hop, fewer at the start, as the decision has it. [H] -> [H]."""
    total = np.zeros(len(scores), dtype=np.float64)
    for back in reversed(range(min(hops, len(scores)))):  # oldest first: the same rounding as the decision's
        total[back:] += scores[: len(scores) - back]
    return total / np.minimum(np.arange(1, len(scores) + 1), hops)


class PhraseTrace:
    """One phrase of one trace, smoothed once, to be asked for its events at many thresholds."""

    def __init__(self, trace: Trace, phrase: str, config: DecisionConfig) -> None:
        self.times_s = trace.times_s
        self.hours = trace.audible_hours
        self.scores = smooth(trace.scores[:, trace.phrases.index(phrase)], config.smoothing_hops)
        self._config = config

    def events(self, threshold: float) -> Array:
        """Times at which the decision fires at this threshold, in seconds [E]."""
        return self.times_s[list(self._fired(threshold))]

    def _fired(self, threshold: float) -> Iterator[int]:
        above = np.flatnonzero(self.scores >= threshold)
        if not len(above):
            return
        below = np.flatnonzero(self.scores < self._config.rearm_ratio * threshold)
        i: int | None = int(above[0])
        while i is not None:
            yield i
            # Re-armed at the next hop below the lower level; fires at the first one above after that.
            rearmed = _first_from(below, i + 1)
            ready = int(self.times_s.searchsorted(self.times_s[i] + self._config.refractory_s))
            i = None if rearmed is None else _first_from(above, max(rearmed, ready))

    def peaks(self, n: int) -> Array:
        """Its n highest scores that are 2 s or more apart, highest first: [n, 2] of (score, time in s)."""
        left, found = self.scores.copy(), list[tuple[float, float]]()
        while len(found) < min(n, len(left)) and left.max() >= 0:
            i = int(left.argmax())
            found.append((self.scores[i], self.times_s[i]))
            near = np.searchsorted(self.times_s, self.times_s[i] + np.array([-PEAK_APART_S, PEAK_APART_S]))
            left[near[0] : near[1]] = -1
        return np.asarray(found, dtype=np.float64).reshape(-1, 2)

    def peak_within(self, start_s: float, end_s: float) -> float:
        """Highest score at hops that end within [start, end]; 0 for none."""
        first, last = np.searchsorted(self.times_s, [start_s, end_s])
        return float(self.scores[first : last + 1].max(initial=0.0))


def _first_from(indices: npt.NDArray[np.intp], at: int) -> int | None:
    where = bisect_left(indices, at)
    return int(indices[where]) if where < len(indices) else None


def events(trace: Trace, phrase: str, threshold: float, config: DecisionConfig) -> Array:
    """Times in seconds at which `Decision` would fire for this phrase [E]."""
    return PhraseTrace(trace, phrase, config).events(threshold)


class Match(NamedTuple):
    """What the events of one phrase were."""

    hits: dict[int, float]
    """Index of the spoken phrase -> time of its event."""
    missed: list[int]
    false_accepts: list[float]


def match(event_times_s: Sequence[float] | Array, spoken: Sequence[Spoken], phrase: str) -> Match:
    """Give each event of `phrase` to a spoken phrase, or count it as a false accept.

    A hit lies between the start of the spoken phrase and 1.0 s after its end; each spoken phrase takes one.
    A second event there, and an event on another phrase, is a false accept.
    """
    waiting = [i for i, s in enumerate(spoken) if s.phrase == phrase]
    hits, false_accepts = dict[int, float](), list[float]()
    for time_s in sorted(float(t) for t in event_times_s):
        hit = next((i for i in waiting if spoken[i].start_s <= time_s <= spoken[i].end_s + HIT_AFTER_S), None)
        if hit is None:
            false_accepts.append(time_s)
        else:
            hits[hit] = time_s
            waiting.remove(hit)
    return Match(hits, waiting, false_accepts)


def latencies(matched: Match, spoken: Sequence[Spoken]) -> list[float]:
    """Seconds from the end of each detected phrase to its event; negative where it fired before the end."""
    return [time_s - spoken[i].end_s for i, time_s in matched.hits.items()]


@dataclass(frozen=True)
class OperatingPoint:
    """One phrase at one threshold: misses on mixed streams, false accepts on negative streams."""

    threshold: float
    missed: int
    spoken: int
    false_accepts: int
    hours: float

    @property
    def miss_rate(self) -> float:
        """Share of spoken phrases without a hit."""
        return self.missed / self.spoken if self.spoken else float("nan")

    @property
    def fa_per_hour(self) -> float:
        """False accepts per audible hour."""
        return self.false_accepts / self.hours if self.hours else float("nan")


class PhraseScores:
    """One phrase over all streams: what every rate of it is computed from."""

    def __init__(
        self,
        phrase: str,
        config: DecisionConfig,
        mixed: Sequence[tuple[Trace, Sequence[Spoken]]],
        negative: Sequence[Trace],
    ) -> None:
        self.phrase = phrase
        self.mixed = [(PhraseTrace(t, phrase, config), spoken) for t, spoken in mixed]
        self.negative = [PhraseTrace(t, phrase, config) for t in negative]
        self.hours = sum(t.hours for t in self.negative)
        self.n_spoken = sum(s.phrase == phrase for _, spoken in mixed for s in spoken)

    def false_accepts(self, threshold: float) -> int:
        """Events in the negative streams."""
        return sum(len(t.events(threshold)) for t in self.negative)

    def matches(self, threshold: float) -> list[Match]:
        """Hits, misses and false accepts in each mixed stream."""
        return [match(t.events(threshold), spoken, self.phrase) for t, spoken in self.mixed]

    def at(self, threshold: float) -> OperatingPoint:
        """Both rates at one threshold."""
        missed = sum(len(m.missed) for m in self.matches(threshold))
        return OperatingPoint(threshold, missed, self.n_spoken, self.false_accepts(threshold), self.hours)

    def phrase_peaks(self) -> list[float]:
        """Highest smoothed score of each spoken phrase, where a hit could be."""
        return [
            trace.peak_within(s.start_s, s.end_s + HIT_AFTER_S)
            for trace, spoken in self.mixed
            for s in spoken
            if s.phrase == self.phrase
        ]

    def negative_peaks(self, n: int) -> Array:
        """The n highest peaks of the negative streams, highest first [n]."""
        peaks = np.concatenate([np.zeros(0), *(t.peaks(n)[:, 0] for t in self.negative)])
        return np.sort(peaks)[::-1][:n]


def det_curve(scores: PhraseScores, n_points: int = 120) -> list[OperatingPoint]:
    """Both rates over thresholds, from low to high: the detection error trade-off.

    The thresholds are the scores at which something changes, thinned evenly to `n_points`; about the highest
    negative peaks, where few false accepts are left to trade, none is left out.
    """
    negative = np.clip(scores.negative_peaks(400), 1e-9, 1.0)
    thresholds = np.unique(np.clip(np.concatenate([negative, scores.phrase_peaks()]), 1e-9, 1.0))
    even = np.linspace(0, len(thresholds) - 1, n_points).round().astype(int)
    highest = thresholds.searchsorted(negative[:HIGHEST_PEAKS])
    keep = np.unique(np.concatenate([even, highest, highest + 1]))  # at a peak, and where it is rid of
    return [scores.at(float(t)) for t in thresholds[keep[keep < len(thresholds)]]]
