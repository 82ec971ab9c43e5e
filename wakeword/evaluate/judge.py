"""From traces of all streams to the tables of a report. Nothing here listens or writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wakeword.audio import read_audio
from wakeword.bundle import Manifest
from wakeword.errors import DataError
from wakeword.evaluate.calibrate import fit_tail, threshold_allowing
from wakeword.evaluate.intervals import poisson_rate, speaker_bootstrap
from wakeword.evaluate.result import (
    AtRate,
    AtThreshold,
    EvaluationResult,
    Excerpt,
    FalseAccepts,
    Histogram,
    Latency,
    Misses,
    NoiseMisses,
    SourceFalseAccepts,
)
from wakeword.evaluate.score import HIT_AFTER_S, Match, PhraseScores, det_curve, latencies
from wakeword.evaluate.streams import MixedStream, NegativeStream, Timeline, is_narrow_band
from wakeword.evaluate.trace import Trace
from wakeword.verifier import logit

RATES = (0.1, 0.5, 1.0, 2.0)
"""False accepts per hour at which the test curve is read."""
MAX_EXCERPTS = 8
EDGES = np.linspace(-16.5, 16.5, 67)
"""Log-odds of the score histograms."""


@dataclass(frozen=True)
class Heard:
    """Streams and what the scorer said of each."""

    mixed: dict[str, list[tuple[MixedStream, Trace]]]
    """By condition; the same phrases and background in each."""
    negative: list[tuple[NegativeStream, Trace]]
    facts: dict[str, Any]


def judge(heard: Heard, manifest: Manifest) -> EvaluationResult:
    """Every table, curve and excerpt, at the bundle's thresholds and along the test's own curve."""
    judges = [_Judge(heard, phrase, manifest) for phrase in manifest.phrases]
    judges = [j for j in judges if j.n_spoken]
    if not judges:
        raise DataError("none of the phrases is spoken in the mixed streams")
    misses = sorted((e for j in judges for e in j.missed()), key=lambda e: e.score)[:MAX_EXCERPTS]
    accepts = sorted((e for j in judges for e in j.accepted()), key=lambda e: -e.score)[:MAX_EXCERPTS]
    return EvaluationResult(
        model=manifest.name,
        phrases=tuple(j.phrase for j in judges),
        conditions=tuple(heard.mixed),
        default_fa_per_hour=float(manifest.default_fa_per_hour),
        at_threshold=tuple(row for j in judges for row in j.at_thresholds()),
        at_rate=tuple(row for j in judges for row in j.at_rates()),
        curves={j.phrase: {c: det_curve(s) for c, s in j.scores.items()} for j in judges},
        histograms=tuple(j.histogram() for j in judges),
        latencies=tuple(row for j in judges for row in j.latencies()),
        by_noise=tuple(_by_noise(heard, judges)),
        by_source=tuple(_by_source(heard, judges)),
        worst_misses=tuple(e.cut() for e in misses),
        worst_false_accepts=tuple(e.cut() for e in accepts),
        facts=heard.facts,
    )


def headline(heard: Heard, manifest: Manifest) -> list[AtThreshold]:
    """Each phrase at the default operating point, also those that nobody speaks."""
    rate = float(manifest.default_fa_per_hour)
    return [_Judge(heard, phrase, manifest).at_threshold(rate) for phrase in manifest.phrases]


class _Judge:
    """One phrase over all conditions."""

    def __init__(self, heard: Heard, phrase: str, manifest: Manifest) -> None:
        self.heard, self.phrase, self.config = heard, phrase, manifest.decision
        negative = [t for _, t in heard.negative]
        self.scores = {
            condition: PhraseScores(phrase, self.config, [(t, s.spoken) for s, t in streams], negative)
            for condition, streams in heard.mixed.items()
        }
        self.any = next(iter(self.scores.values()))
        """For what the conditions share: the negative streams."""
        self.n_spoken = self.any.n_spoken
        self.points = {float(rate): t for rate, t in manifest.thresholds[phrase].items()}
        self.default = self.points[float(manifest.default_fa_per_hour)].value
        self.matches = {c: s.matches(self.default) for c, s in self.scores.items()}

    def at_thresholds(self) -> Iterator[AtThreshold]:
        for rate in sorted(self.points):
            yield self.at_threshold(rate)

    def at_threshold(self, rate: float) -> AtThreshold:
        point = self.points[rate]
        matches = {c: s.matches(point.value) for c, s in self.scores.items()}
        mixed_hours = {c: sum(t.audible_hours for _, t in part) for c, part in self.heard.mixed.items()}
        return AtThreshold(
            self.phrase,
            rate,
            point.value,
            point.extrapolated,
            {c: misses_of(self.scores[c], m) for c, m in matches.items()},
            false_accept_rate(self.any.false_accepts(point.value), self.any.hours),
            {
                c: false_accept_rate(sum(len(x.false_accepts) for x in m), mixed_hours[c])
                for c, m in matches.items()
            },
        )

    def at_rates(self) -> Iterator[AtRate]:
        for rate in RATES:
            allowed = int(rate * self.any.hours + 1e-9)
            threshold = threshold_allowing(self.any, allowed)
            beyond = fit_tail(self.any).threshold(rate) if allowed == 0 else None
            yield AtRate(
                self.phrase,
                rate,
                threshold,
                false_accept_rate(self.any.false_accepts(threshold), self.any.hours),
                self._misses_at(threshold),
                beyond,
                None if beyond is None else self._misses_at(beyond),
            )

    def _misses_at(self, threshold: float) -> dict[str, Misses]:
        return {c: misses_of(s, s.matches(threshold)) for c, s in self.scores.items()}

    def latencies(self) -> Iterator[Latency]:
        for condition, streams in self.heard.mixed.items():
            pairs = zip(streams, self.matches[condition], strict=True)
            found = [x for (stream, _), m in pairs for x in latencies(m, stream.spoken)]
            if found:
                median, p95 = (float(x) for x in np.percentile(found, [50, 95]))
                yield Latency(self.phrase, condition, len(found), median, p95)

    def histogram(self) -> Histogram:
        background = np.concatenate([t.peaks(10**6)[:, 0] for t in self.any.negative])
        spoken = {c: _log_odds_counts(np.asarray(s.phrase_peaks())) for c, s in self.scores.items()}
        return Histogram(self.phrase, EDGES, spoken, _log_odds_counts(background))

    def missed(self) -> Iterator[_Moment]:
        """Misses; of a clip missed in several conditions the first (easiest) one."""
        seen = set[Path]()
        for condition, streams in self.heard.mixed.items():
            parts = zip(streams, self.matches[condition], self.scores[condition].mixed, strict=True)
            for (stream, _), found, (phrase_trace, _) in parts:
                for s in (stream.spoken[i] for i in found.missed):
                    if s.path not in seen:
                        seen.add(s.path)
                        peak = phrase_trace.peak_within(s.start_s, s.end_s + HIT_AFTER_S)
                        title = f"{condition}{', ' + s.noise if s.noise else ''}: {s.path.name}, {s.group}"
                        yield self._moment(title, peak, stream, s.start_s - 0.8, s.end_s + 0.8)

    def accepted(self) -> Iterator[_Moment]:
        """The highest peaks of the background, whether or not they reach the threshold."""
        for (stream, _), phrase_trace in zip(self.heard.negative, self.any.negative, strict=True):
            for score, at in phrase_trace.peaks(MAX_EXCERPTS).tolist():
                path, into_s = stream.file_at(at)
                title = f"{path.name} at {int(into_s // 60)}:{into_s % 60:04.1f}"
                yield self._moment(title, score, stream, at - 2.2, at + 0.5)

    def _moment(self, title: str, score: float, stream: Timeline, start_s: float, end_s: float) -> _Moment:
        return _Moment(self.phrase, title, score, self.default, stream, start_s, end_s)


@dataclass(frozen=True)
class _Moment:
    """An excerpt not yet rendered: only the few that are shown are worth decoding."""

    phrase: str
    title: str
    score: float
    threshold: float
    stream: Timeline
    start_s: float
    end_s: float

    def cut(self) -> Excerpt:
        audio = self.stream.excerpt(self.start_s, self.end_s)
        return Excerpt(self.phrase, self.title, self.score, self.threshold, audio)


def misses_of(scores: PhraseScores, matches: Sequence[Match]) -> Misses:
    """Missed of the phrase's spoken ones, in the `matches` of `scores` at some threshold."""
    return count_misses(
        [
            (i in m.missed, s.group)
            for (_, spoken), m in zip(scores.mixed, matches, strict=True)
            for i, s in enumerate(spoken)
            if s.phrase == scores.phrase
        ]
    )


def count_misses(outcomes: Sequence[tuple[bool, str]]) -> Misses:
    """Count (missed?, speaker) pairs; the interval is by speaker. The same pairs give the same interval."""
    missed = [m for m, _ in outcomes]
    interval = speaker_bootstrap(missed, [g for _, g in outcomes], np.random.default_rng(0))
    return Misses(sum(missed), len(missed), interval)


def false_accept_rate(count: int, hours: float) -> FalseAccepts:
    """Count and hours with their interval."""
    return FalseAccepts(count, hours, poisson_rate(count, hours))


def _log_odds_counts(scores: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.histogram(logit(scores.astype(np.float32)), EDGES)[0].astype(np.int64)


def _by_noise(heard: Heard, judges: Sequence[_Judge]) -> Iterator[NoiseMisses]:
    for condition, streams in heard.mixed.items():
        outcomes = dict[str, list[tuple[bool, str]]]()
        for j in judges:
            for (stream, _), m in zip(streams, j.matches[condition], strict=True):
                for i, s in enumerate(stream.spoken):
                    if s.phrase == j.phrase and s.noise:
                        outcomes.setdefault(s.noise, []).append((i in m.missed, s.group))
        for noise, pairs in sorted(outcomes.items()):
            yield NoiseMisses(condition, noise, count_misses(pairs))


def _by_source(heard: Heard, judges: Sequence[_Judge]) -> Iterator[SourceFalseAccepts]:
    for source in sorted({s.source for s, _ in heard.negative}):
        where = [i for i, (s, _) in enumerate(heard.negative) if s.source == source]
        first = heard.negative[where[0]][0].segments[0].source.paths[0]
        yield SourceFalseAccepts(
            source or "background",
            "narrow-band" if is_narrow_band(read_audio(first)) else "wideband",
            sum(heard.negative[i][1].audible_hours for i in where),
            {j.phrase: sum(len(j.any.negative[i].events(j.default)) for i in where) for j in judges},
        )
