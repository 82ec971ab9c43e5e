"""Where a new detector fires: gate and thresholds, from dev streams, by the scorers that will listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from wakeword.bundle import Bundle, save_bundle
from wakeword.clips.dataset import Clip
from wakeword.config import DEFAULT_FA_PER_HOUR, OPERATING_POINTS
from wakeword.detector import Mode
from wakeword.evaluate.calibrate import calibrate
from wakeword.evaluate.gate import Gate, Pair, choose_gate
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.run import bundle_scorer, speech_and_noise
from wakeword.evaluate.streams import MixedStream, NegativeStream
from wakeword.evaluate.trace import Trace, trace_all
from wakeword.manifest import Thresholds

GATE_SNRS_DB = (None, 10.0)
GATE_GAP_S = (2.0, 4.0)
"""Shorter than where misses are counted: the verifier has to hear all of these streams."""
GATE_POSTERIOR = 0.5
"""A phrase that the verifier gives at least this must pass the gate, whatever threshold is chosen later."""


def set_operating_points(
    draft: Bundle, clips: Sequence[Clip], background: Sequence[Clip], workspace: Path, seed: int
) -> tuple[Bundle, Gate | None]:
    """The draft with its gate and thresholds set.

    The gate keeps what the verifier hears of the phrases in mixed streams of `clips`. The thresholds are
    set on the background without the phrases, for the mode that will listen (the cascade, where there is a
    student) and for the student alone. `workspace` takes the drafts that the worker processes load.
    """
    streams = build_negative_streams(background)
    if draft.student is None:
        traces = _traces(draft, "verifier", streams, workspace)
        return _with_thresholds(draft, _points(draft, traces)), None
    alone = _traces(draft, "student", streams, workspace)
    gate = _gate(draft, clips, background, alone, workspace, seed)
    gated = _with_student(draft, gate.scores, _points(draft, alone))
    traces = _traces(gated, "cascade", streams, workspace)
    return _with_thresholds(gated, _points(gated, traces)), gate


def _traces(
    draft: Bundle, mode: Mode, streams: Sequence[NegativeStream | MixedStream], workspace: Path
) -> list[Trace]:
    path = workspace / "draft.wakeword"
    save_bundle(path, draft)
    return trace_all(partial(bundle_scorer, path, mode), streams, label=f"dev streams ({mode})")


def _gate(
    draft: Bundle,
    clips: Sequence[Clip],
    background: Sequence[Clip],
    alone: Sequence[Trace],
    workspace: Path,
    seed: int,
) -> Gate:
    speech, noise = speech_and_noise(background)
    snrs = GATE_SNRS_DB if noise else (None,)
    streams = [
        stream
        for snr in snrs
        for stream in build_mixed_streams(
            clips, speech, noise, MixConfig(snr_db=snr, gap_s=GATE_GAP_S, piece_s=200), seed
        )
    ]
    student = _traces(draft, "student", streams, workspace)
    verifier = _traces(draft, "verifier", streams, workspace)
    pairs = [Pair(s, v, stream.spoken) for s, v, stream in zip(student, verifier, streams, strict=True)]
    assert draft.manifest.student is not None
    return choose_gate(
        pairs,
        alone,
        dict.fromkeys(draft.manifest.phrases, GATE_POSTERIOR),
        draft.manifest.decision,
        draft.manifest.student,
    )


def _points(draft: Bundle, traces: Sequence[Trace]) -> Thresholds:
    points = calibrate(traces, OPERATING_POINTS, draft.manifest.decision)
    return {
        phrase: {f"{rate:g}": by_rate[rate] for rate in sorted(by_rate)} for phrase, by_rate in points.items()
    }


def _with_thresholds(draft: Bundle, thresholds: Thresholds) -> Bundle:
    rate = f"{DEFAULT_FA_PER_HOUR:g}"
    return replace(draft, manifest=replace(draft.manifest, thresholds=thresholds, default_fa_per_hour=rate))


def _with_student(draft: Bundle, gate: Mapping[str, float], thresholds: Thresholds) -> Bundle:
    assert draft.manifest.student is not None
    student = replace(draft.manifest.student, gate=gate, thresholds=thresholds)
    return replace(draft, manifest=replace(draft.manifest, student=student))
