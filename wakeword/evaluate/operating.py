"""Where a new detector fires: gate and thresholds, from dev streams, by the scorers that will listen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from wakeword.bundle import Bundle, save_bundle
from wakeword.clips.dataset import Clip
from wakeword.config import DEFAULT_FA_PER_HOUR, OPERATING_POINTS
from wakeword.evaluate.calibrate import calibrate
from wakeword.evaluate.gate import Gate, Pair, choose_gate
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.run import bundle_scorer, speech_and_noise
from wakeword.evaluate.streams import MixedStream, NegativeStream
from wakeword.evaluate.trace import Trace, trace_all
from wakeword.manifest import Mode, Thresholds

GATE_SNR_DB = 10.0
"""A phrase that passes the gate in this noise passes it in less."""
GATE_GAP_S = (2.0, 4.0)
"""Shorter than where misses are counted: the verifier has to hear all of these streams."""
GATE_POSTERIOR = 0.5
"""A phrase that the verifier gives at least this must pass the gate, whatever threshold is chosen later."""


def set_operating_points(
    draft: Bundle, clips: Sequence[Clip], background: Sequence[Clip], workspace: Path, seed: int
) -> tuple[Bundle, Gate | None]:
    """The draft with its gate and thresholds set.

    The gate keeps what the verifier hears of the phrases in mixed streams of `clips`. The thresholds are
    set on the background without the phrases, for each mode of listening by itself. `workspace` takes the
    drafts that the worker processes load.
    """
    streams = build_negative_streams(background)
    always = _points(draft, _traces(draft, "verifier", streams, workspace))
    rate = f"{DEFAULT_FA_PER_HOUR:g}"
    draft = replace(draft, manifest=replace(draft.manifest, thresholds=always, default_fa_per_hour=rate))
    if draft.student is None:
        return draft, None
    alone = _traces(draft, "student", streams, workspace)
    gate = _gate(draft, clips, background, alone, workspace, seed)
    draft = _with_student(draft, gate=gate.scores, thresholds=_points(draft, alone))
    cascaded = _traces(draft, "cascade", streams, workspace)
    return _with_student(draft, cascade_thresholds=_points(draft, cascaded)), gate


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
    config = MixConfig(snr_db=GATE_SNR_DB if noise else None, gap_s=GATE_GAP_S, piece_s=200)
    streams = build_mixed_streams(clips, speech, noise, config, seed)
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


def _with_student(draft: Bundle, **changes: Any) -> Bundle:
    assert draft.manifest.student is not None
    student = replace(draft.manifest.student, **changes)
    return replace(draft, manifest=replace(draft.manifest, student=student))
