"""How often near phrases, parts and the like are taken for a phrase: accept rates per kind, on streams.

Each recording is laid into background speech as a phrase is in a mixed stream, the listener's own scorer
hears it, and what fires while the recording is played, or up to 1.0 s after, accepted it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wakeword.clips.confusable_clips import ConfusableClip
from wakeword.clips.confusables import CONFUSABLE_KINDS
from wakeword.clips.dataset import Clip
from wakeword.cluster import Cluster
from wakeword.evaluate.intervals import wilson
from wakeword.evaluate.plan import MixConfig, build_mixed_streams
from wakeword.evaluate.result import Accepted, AcceptedText, ConfusableResult, Excerpt
from wakeword.evaluate.score import HIT_AFTER_S, PhraseTrace
from wakeword.evaluate.streams import MixedStream, Spoken
from wakeword.evaluate.trace import ScoresAudio, Trace, trace_all
from wakeword.manifest import Manifest

GAP_S = (3.0, 8.0)
"""Background speech between two recordings: longer than any refractory period, and than a window."""
MAX_TEXTS = 12
MAX_EXCERPTS = 6


@dataclass(frozen=True)
class Outcome:
    """What the detector said of one recording."""

    confusable: ConfusableClip
    fired: tuple[str, ...]
    """Phrases that were detected."""
    phrase: str
    """The phrase that came nearest to it (or farthest beyond its threshold)."""
    score: float
    threshold: float
    stream: MixedStream
    spoken: Spoken

    @property
    def accepted(self) -> bool:
        """Whether anything was detected."""
        return bool(self.fired)


def confusable_streams(
    confusables: Sequence[ConfusableClip], speech: Sequence[Clip], seed: int
) -> list[MixedStream]:
    """Every recording once, in background speech at the same level, no noise over it."""
    clips = [one.clip for one in confusables]
    return build_mixed_streams(clips, speech, [], MixConfig(gap_s=GAP_S), seed)


def hear_confusables(
    make_scorer: Callable[[], ScoresAudio],
    confusables: Sequence[ConfusableClip],
    speech: Sequence[Clip],
    manifest: Manifest,
    seed: int = 1,
    processes: int | None = None,
    progress: bool = True,
    cluster: Cluster | None = None,
) -> list[Outcome]:
    """Play every recording to a detector, at its default thresholds; see `evaluate` for the arguments."""
    streams = confusable_streams(confusables, speech, seed)
    traces = trace_all(make_scorer, streams, processes, "confusables", progress, cluster)
    known = {one.clip.path: one for one in confusables}
    return [
        outcome
        for stream, trace in zip(streams, traces, strict=True)
        for outcome in _outcomes(stream, trace, known, manifest)
    ]


def _outcomes(
    stream: MixedStream, trace: Trace, known: dict[Path, ConfusableClip], manifest: Manifest
) -> Iterator[Outcome]:
    rate = float(manifest.default_fa_per_hour)
    thresholds = {
        phrase: next(t.value for r, t in manifest.thresholds[phrase].items() if float(r) == rate)
        for phrase in manifest.phrases
    }
    smoothed = {phrase: PhraseTrace(trace, phrase, manifest.decision) for phrase in manifest.phrases}
    events = {phrase: smoothed[phrase].events(value) for phrase, value in thresholds.items()}
    for spoken in stream.spoken:
        start, end = spoken.start_s, spoken.end_s + HIT_AFTER_S
        peaks = {phrase: s.peak_within(start, end) for phrase, s in smoothed.items()}
        fired = tuple(p for p, times in events.items() if ((times >= start) & (times <= end)).any())
        nearest = max(fired or peaks, key=lambda phrase: peaks[phrase] / thresholds[phrase])
        yield Outcome(known[spoken.path], fired, nearest, peaks[nearest], thresholds[nearest], stream, spoken)


def count_confusables(outcomes: Sequence[Outcome]) -> ConfusableResult:
    """Rates by kind, the texts that are accepted most, and recordings to listen to."""
    kinds = sorted({o.confusable.kind for o in outcomes}, key=_order)
    phrases = sorted({o.confusable.phrase for o in outcomes} - {""})
    return ConfusableResult(
        by_kind=tuple(
            _row(kind, [o for o in outcomes if o.confusable.kind == kind], phrases) for kind in kinds
        ),
        total=_row("all", outcomes, phrases),
        texts=tuple(_texts(outcomes)),
        excerpts=tuple(_excerpts(outcomes)),
    )


def _order(kind: str) -> tuple[int, str]:
    known: tuple[str, ...] = CONFUSABLE_KINDS
    return (known.index(kind) if kind in known else len(known), kind)


def _row(kind: str, outcomes: Sequence[Outcome], phrases: Sequence[str]) -> Accepted:
    held_out = [o for o in outcomes if o.confusable.held_out]
    accepted = sum(o.accepted for o in outcomes)
    of = {phrase: [o for o in outcomes if o.confusable.phrase == phrase] for phrase in phrases}
    return Accepted(
        kind,
        accepted,
        len(outcomes),
        wilson(accepted, len(outcomes)),
        (sum(o.accepted for o in held_out), len(held_out)),
        {phrase: (sum(o.accepted for o in part), len(part)) for phrase, part in of.items()},
    )


def _texts(outcomes: Sequence[Outcome]) -> Iterator[AcceptedText]:
    """Texts of which some were accepted, the most accepted first."""
    said = Counter((o.confusable.text, o.confusable.kind) for o in outcomes)
    fired = Counter((o.confusable.text, o.confusable.kind, p) for o in outcomes for p in o.fired)
    ranked = sorted(fired.items(), key=lambda item: (-item[1] / said[item[0][:2]], item[0]))
    for (text, kind, phrase), n in ranked[:MAX_TEXTS]:
        if text:
            yield AcceptedText(text, kind, phrase, n, said[text, kind])


def _excerpts(outcomes: Sequence[Outcome]) -> Iterator[Excerpt]:
    """The nearest to a phrase, or farthest beyond it, of different texts."""
    seen = set[str]()
    for o in sorted(outcomes, key=lambda o: (-(o.score / o.threshold), str(o.spoken.path))):
        name = o.confusable.text or o.spoken.path.name
        if name not in seen and len(seen) < MAX_EXCERPTS:
            seen.add(name)
            audio = o.stream.excerpt(o.spoken.start_s - 0.8, o.spoken.end_s + 0.8)
            yield Excerpt(
                o.phrase, f"{name} ({o.confusable.kind}, {o.spoken.group})", o.score, o.threshold, audio
            )
