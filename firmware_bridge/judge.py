"""Judge a quantised network as the firmware would run it: its posteriors on streams, its events by any rule.

Features are computed once for each stream and kept; a network then takes seconds for an hour of audio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firmware_bridge.decision import SLICE_S, FirmwareRule, PosteriorTrace
from firmware_bridge.micro import FRAMES_UNHEARD, MicroFeatures
from firmware_bridge.network import Int8, QuantisedNet
from firmware_bridge.reference import ReferenceNet
from wakeword.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE_DBFS, as_float, as_int16, frame_levels_dbfs
from wakeword.errors import DataError
from wakeword.evaluate.score import match
from wakeword.evaluate.streams import MixedStream, NegativeStream, Spoken

PIECE_FRAMES = 30_000
"""Features a network takes at once: five minutes."""

Posteriors = Callable[[Int8], npt.NDArray[np.uint8]]
"""From the features of a whole stream [F, 40] to the posterior of each step [S]."""


@dataclass(frozen=True)
class HeardStream:
    """A stream as a microcontroller hears it."""

    features: Int8
    """[F, 40]; may be memory-mapped."""
    hours: float
    """Audible."""
    spoken: tuple[Spoken, ...]


def hear(stream: MixedStream | NegativeStream, folder: Path | None = None) -> HeardStream:
    """Features and audible hours of a stream, kept in `folder` for the next time it is asked for."""
    spoken = stream.spoken if isinstance(stream, MixedStream) else ()
    path = None
    if folder is not None:
        key = hashlib.sha256(repr(stream).encode()).hexdigest()[:20]
        path = folder / f"{key}.npy"
        if path.is_file():
            return HeardStream(np.load(path, mmap_mode="r"), _hours_kept(path), spoken)
    features, hours = _hear(stream)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".hours.npy"), np.float64(hours))
        np.save(path, features)
    return HeardStream(features, hours, spoken)


def _hours_kept(path: Path) -> float:
    return float(np.load(path.with_suffix(".hours.npy")))


def _hear(stream: MixedStream | NegativeStream) -> tuple[Int8, float]:
    front_end, audible, rows = MicroFeatures(), 0, list[Int8]()
    for block in stream.blocks():
        pcm = as_int16(block)
        rows.append(front_end.feed(pcm))
        audible += int((frame_levels_dbfs(as_float(pcm)) >= SILENCE_DBFS).sum())
    return np.concatenate(rows), audible * FRAME_SAMPLES / SAMPLE_RATE / 3600


def reference_posteriors(net: QuantisedNet) -> Posteriors:
    """The network's own, by the reference."""
    runner = ReferenceNet(net)

    def run(features: Int8) -> npt.NDArray[np.uint8]:
        runner.reset()
        pieces = [runner.feed(features[i : i + PIECE_FRAMES]) for i in range(0, len(features), PIECE_FRAMES)]
        return np.concatenate([np.zeros(0, dtype=np.uint8), *pieces])

    return run


@dataclass(frozen=True)
class Run:
    """The posteriors of one stream."""

    trace: PosteriorTrace
    hours: float
    spoken: tuple[Spoken, ...]

    def event_times_s(self, rule: FirmwareRule) -> npt.NDArray[np.float64]:
        """When the firmware fires, in seconds from the first sample [E]."""
        return np.asarray((self.trace.events(rule) + 1 + FRAMES_UNHEARD) * SLICE_S, dtype=np.float64)


def run_on(posteriors: Posteriors, streams: Sequence[HeardStream], stride: int = 3) -> list[Run]:
    """Run a network over whole streams, each from the start."""
    return [Run(PosteriorTrace(posteriors(s.features), stride), s.hours, s.spoken) for s in streams]


@dataclass(frozen=True)
class Outcome:
    """What a rule costs: phrases missed and false accepts."""

    missed: tuple[bool, ...]
    """For each spoken phrase, in the order of the streams."""
    groups: tuple[str, ...]
    """Who spoke it."""
    latencies_s: tuple[float, ...]
    """From the end of the phrase, of those that were heard."""

    @property
    def miss_rate(self) -> float:
        """Share of spoken phrases without a hit."""
        return sum(self.missed) / len(self.missed)


def outcome(runs: Sequence[Run], phrase: str, rule: FirmwareRule) -> Outcome:
    """Hits and misses of a phrase in mixed streams; DataError where it is not spoken."""
    missed, groups, latencies = list[bool](), list[str](), list[float]()
    for run in runs:
        found = match(run.event_times_s(rule), run.spoken, phrase)
        for i, spoken in enumerate(run.spoken):
            if spoken.phrase == phrase:
                missed.append(i in found.missed)
                groups.append(spoken.group)
        latencies += [time_s - run.spoken[i].end_s for i, time_s in found.hits.items()]
    if not missed:
        raise DataError(f"{phrase!r} is not spoken in these streams")
    return Outcome(tuple(missed), tuple(groups), tuple(latencies))


def false_accepts(runs: Sequence[Run], rule: FirmwareRule) -> int:
    """Events in streams without the phrase."""
    return sum(len(run.trace.events(rule)) for run in runs)


def hours(runs: Sequence[Run]) -> float:
    """Audible hours."""
    return sum(run.hours for run in runs)
