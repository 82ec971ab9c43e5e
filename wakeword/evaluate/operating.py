"""Where a new detector fires, and how good that is: gate, thresholds, calibration and verdict, all from dev.

Everything is heard by the scorers that will listen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from wakeword.bundle import Bundle, save_bundle
from wakeword.clips.dataset import Clip
from wakeword.cluster import Cluster
from wakeword.config import DEFAULT_FA_PER_HOUR, OPERATING_POINTS
from wakeword.evaluate.calibrate import calibrate, fit_probability
from wakeword.evaluate.gate import Gate, Pair, choose_gate
from wakeword.evaluate.judge import Heard, headline
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.result import EvaluationResult
from wakeword.evaluate.run import bundle_scorer, in_mode, judge_mode, speech_and_noise, with_facts
from wakeword.evaluate.score import PhraseScores
from wakeword.evaluate.sparse import sparse_scorer
from wakeword.evaluate.streams import MixedStream, NegativeStream
from wakeword.evaluate.trace import Trace, trace_all
from wakeword.evaluate.verdict import CLEAN, judge_dev, results_table
from wakeword.manifest import Calibration, Mode, Thresholds

NOISY, NOISY_SNR_DB = "10 dB", 10.0
"""The gate is set in this noise: a phrase that passes it there passes it in less."""
GAP_S = (2.0, 4.0)
"""Between two phrases; shorter than where a test counts misses: the verifier hears all of these streams."""
GATE_POSTERIOR = 0.5
"""A phrase that the verifier gives at least this must pass the gate, whatever threshold is chosen later."""
BACKGROUND_PEAKS = 200
"""Highest peaks of each dev stream that a calibration looks at."""


@dataclass(frozen=True)
class Dev:
    """The streams everything is set on."""

    negative: list[NegativeStream]
    mixed: Mapping[str, list[MixedStream]]
    """condition -> streams with phrases in them."""

    @classmethod
    def build(cls, clips: Sequence[Clip], background: Sequence[Clip], seed: int) -> Dev:
        """From dev recordings. The noisy condition is clean where there is no noise."""
        speech, noise = speech_and_noise(background)
        levels = {NOISY: NOISY_SNR_DB if noise else None, CLEAN: None}
        mixed = {
            name: build_mixed_streams(
                clips, speech, noise, MixConfig(snr_db=snr_db, gap_s=GAP_S, piece_s=200), seed
            )
            for name, snr_db in levels.items()
        }
        return cls(build_negative_streams(background), mixed)


@dataclass(frozen=True)
class Listening:
    """One mode of a draft, as heard on dev."""

    negative: list[Trace]
    mixed: Mapping[str, Sequence[tuple[MixedStream, Trace]]]
    """By condition."""


@dataclass(frozen=True)
class Calibrated:
    """A bundle that knows where it fires."""

    bundle: Bundle
    gate: Gate | None
    """None without a student."""
    heard: Heard
    """What its default mode's thresholds were set on."""

    def result(self) -> EvaluationResult:
        """How good it is there: better than elsewhere, for that is what it was fitted to."""
        mode = self.bundle.manifest.mode
        return judge_mode(self.heard, in_mode(self.bundle.manifest, mode), mode, {"split": "dev"})


def set_operating_points(
    draft: Bundle, dev: Dev, workspace: Path, cluster: Cluster | None = None
) -> Calibrated:
    """The draft with its gate, thresholds, calibration and verdict.

    The gate keeps what the verifier hears of the phrases in noise. The thresholds are set on the background
    without the phrases, for each mode of listening by itself. `workspace` takes the drafts that the worker
    processes, or those of a cluster, load.
    """
    listen = partial(_listen, dev=dev, workspace=workspace, cluster=cluster)
    always = listen(draft, "verifier", (NOISY,))
    rate = f"{DEFAULT_FA_PER_HOUR:g}"
    points = _points(draft, "verifier", always.negative)
    draft = replace(draft, manifest=replace(draft.manifest, thresholds=points, default_fa_per_hour=rate))
    if draft.student is None:
        clean = listen(draft, "verifier", (CLEAN,), always.negative)
        return _judged(draft, {"verifier": _joined(always, clean)}, dev, None)
    alone = listen(draft, "student", (NOISY,))
    gate = _gate(draft, alone, always)
    draft = _with_student(draft, gate=gate.scores, thresholds=_points(draft, "student", alone.negative))
    cascaded = listen(draft, "cascade", (NOISY, CLEAN))
    draft = _with_student(draft, cascade_thresholds=_points(draft, "cascade", cascaded.negative))
    return _judged(draft, {"cascade": cascaded, "verifier": always, "student": alone}, dev, gate)


def _listen(
    draft: Bundle,
    mode: Mode,
    conditions: Sequence[str],
    negative: list[Trace] | None = None,
    *,
    dev: Dev,
    workspace: Path,
    cluster: Cluster | None,
) -> Listening:
    """Hear the negative streams (unless their traces are given) and these conditions in one mode."""
    path = workspace / "draft.wakeword"
    save_bundle(path, draft)
    mixed = [stream for name in conditions for stream in dev.mixed[name]]
    streams = [*mixed, *([] if negative else dev.negative)]
    # The verifier at every hop is half of a training's time; sparsely, a third of that.
    scorer = partial(sparse_scorer, path) if mode == "verifier" else partial(bundle_scorer, path, mode)
    traces = iter(trace_all(scorer, streams, label=f"dev streams ({mode})", cluster=cluster))
    heard = {name: [(stream, next(traces)) for stream in dev.mixed[name]] for name in conditions}
    return Listening(negative or list(traces), heard)


def _joined(one: Listening, other: Listening) -> Listening:
    return Listening(one.negative, {**one.mixed, **other.mixed})


def _gate(draft: Bundle, alone: Listening, always: Listening) -> Gate:
    pairs = [
        Pair(student, verifier, stream.spoken)
        for (stream, student), (_, verifier) in zip(alone.mixed[NOISY], always.mixed[NOISY], strict=True)
    ]
    manifest = draft.manifest
    assert manifest.student is not None
    posteriors = dict.fromkeys(manifest.phrases, GATE_POSTERIOR)
    return choose_gate(pairs, alone.negative, posteriors, manifest.decision, manifest.student)


def _points(draft: Bundle, mode: Mode, traces: Sequence[Trace]) -> Thresholds:
    points = calibrate(traces, OPERATING_POINTS, draft.manifest.decision_of(mode))
    return {
        phrase: {f"{rate:g}": by_rate[rate] for rate in sorted(by_rate)} for phrase, by_rate in points.items()
    }


def _judged(draft: Bundle, modes: Mapping[Mode, Listening], dev: Dev, gate: Gate | None) -> Calibrated:
    """The draft with what its scores mean in each mode, and the verdict on its default one."""
    manifest = draft.manifest
    calibration = {str(mode): _calibration(draft, mode, heard) for mode, heard in modes.items()}
    default = modes[manifest.mode]
    mixed = {name: default.mixed[name] for name in (CLEAN, NOISY)}
    heard = with_facts(mixed, list(zip(dev.negative, default.negative, strict=True)), {})
    figures = headline(heard, in_mode(manifest, manifest.mode))
    clips = {phrase: int(n.get("train", 0)) for phrase, n in manifest.training.get("clips", {}).items()}
    hours = float(manifest.training.get("background_hours", {}).get("train", 0.0))
    verdict = judge_dev(figures, float(manifest.default_fa_per_hour), clips, hours)
    results = {**manifest.results, **results_table(figures, verdict)}
    bundle = replace(draft, manifest=replace(manifest, calibration=calibration, results=results))
    return Calibrated(bundle, gate, heard)


def _calibration(draft: Bundle, mode: Mode, heard: Listening) -> Mapping[str, Calibration]:
    manifest = draft.manifest
    curves = {}
    for phrase in manifest.phrases:
        pairs = [(trace, stream.spoken) for streams in heard.mixed.values() for stream, trace in streams]
        scores = PhraseScores(phrase, manifest.decision_of(mode), pairs, heard.negative)
        background = scores.negative_peaks(BACKGROUND_PEAKS)
        curves[phrase] = fit_probability(scores.phrase_peaks(), background.tolist(), scores.hours)
    return curves


def _with_student(draft: Bundle, **changes: Any) -> Bundle:
    assert draft.manifest.student is not None
    student = replace(draft.manifest.student, **changes)
    return replace(draft, manifest=replace(draft.manifest, student=student))
