"""What a bundle says of itself: a strict, versioned schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from wakeword.audio import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE
from wakeword.decision import DecisionConfig
from wakeword.errors import BundleError, UsageError

SCHEMA = 1
Mode: TypeAlias = Literal["cascade", "verifier", "student"]
"""Who listens: the student, with the verifier on suspicion; the verifier always; the student alone."""


@dataclass(frozen=True)
class Threshold:
    """Where one phrase fires for a stated number of false accepts per hour."""

    value: float
    """Posterior, 0 to 1."""
    extrapolated: bool
    """True when the dev hours were too few to see this rate and a tail fit gave the value."""


@dataclass(frozen=True)
class Calibration:
    """From a score to the probability that a detection with it is real, by Platt's logistic curve.

    Where the phrase is spoken once an hour. Platt 1999, "Probabilistic outputs for support vector machines".
    """

    slope: float
    offset: float

    def probability(self, score: float) -> float:
        """Of a smoothed posterior, 0 to 1."""
        odds = max(min(score, 1 - 1e-7), 1e-7)
        exponent = self.slope * math.log(odds / (1 - odds)) + self.offset
        return 1 / (1 + math.exp(-max(min(exponent, 50.0), -50.0)))


Thresholds: TypeAlias = Mapping[str, Mapping[str, Threshold]]
"""phrase -> false accepts per hour (as text, "0.5") -> threshold, set on dev."""


@dataclass(frozen=True, kw_only=True)
class StudentManifest:
    """How the student is used."""

    gate: Mapping[str, float]
    """phrase -> score of the student, in (0, 1], from which the verifier is asked."""
    hangover_hops: int
    """Hops for which the verifier goes on after the student's last suspicion."""
    promising: float
    """Posterior of any phrase below which the verifier stops before that."""
    evidence: float = 0.0
    """Weight of the student's word beside the verifier's (see `wakeword.cascade`); 0 = none."""
    evidence_hops: int = 1
    """Hops, the newest included, of which the student's highest score counts there."""
    stride_hops: int = 1
    """The verifier runs at most once in so many hops; its last posterior stands in those between."""
    thresholds: Thresholds
    """Where the student fires when it listens alone."""
    cascade_thresholds: Thresholds
    """Where the verifier fires when it hears only what the student suspects."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself."""

    name: str
    phrases: tuple[str, ...]
    input: Literal["mel", "audio"]
    """What the verifier takes: log-mel [1, 80, T] or samples [1, N]."""
    window: int
    """T or N: log-mel frames (10 ms) or samples in one window."""
    thresholds: Thresholds
    """Where the verifier fires when it listens alone, at every hop."""
    default_fa_per_hour: str
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    calibration: Mapping[str, Mapping[str, Calibration]] = field(default_factory=dict)
    """mode -> phrase -> what a score means; set on dev."""
    encoder: str = ""
    student: StudentManifest | None = None
    """None where the bundle holds no student."""
    training: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    """What was measured on dev when the thresholds were set, and the verdict on it."""
    licences: Mapping[str, str] = field(default_factory=dict)
    sample_rate: int = SAMPLE_RATE
    hop_samples: int = HOP_SAMPLES
    wakeword_version: str = ""
    schema: int = SCHEMA

    @property
    def mode(self) -> Mode:
        """Who listens where nobody says: the cascade, if there is a student."""
        return "verifier" if self.student is None else "cascade"

    def thresholds_of(self, mode: Mode) -> Thresholds:
        """The thresholds set for that mode of listening."""
        if mode == "verifier" or self.student is None:
            return self.thresholds
        return self.student.thresholds if mode == "student" else self.student.cascade_thresholds

    def decision_of(self, mode: Mode) -> DecisionConfig:
        """How posteriors become events in that mode.

        The student is taught to say a phrase once, in a step or two: an average over hops would lose it.
        """
        return replace(self.decision, smoothing_hops=1) if mode == "student" else self.decision

    def threshold(self, phrase: str, fa_per_hour: float, mode: Mode | None = None) -> Threshold:
        """The phrase's threshold at a stored operating point; UsageError lists those there are."""
        points = self.thresholds_of(mode or self.mode)[phrase]
        for rate, threshold in points.items():
            if float(rate) == fa_per_hour:
                return threshold
        raise UsageError(
            f"{self.name} has no operating point at {fa_per_hour:g} false accepts per hour; "
            f"choose one of {', '.join(points)}"
        )


def parse_manifest(data: bytes, source: Path) -> tuple[Manifest, Mapping[str, str]]:
    """The manifest, and the sha256 of each member, from their JSON; BundleError names what is wrong."""
    try:
        raw = json.loads(data)
        schema = raw["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise BundleError(f"{source}: its manifest cannot be read ({err})") from err
    if type(schema) is not int or schema < 1:
        raise BundleError(f"{source}: its manifest cannot be read (schema {schema!r})")
    if schema > SCHEMA:
        raise BundleError(
            f"{source}: made by a newer wakeword (schema {schema}, this one reads up to {SCHEMA}); "
            "upgrade with pip install -U wakeword"
        )
    digests = raw.pop("files", None)
    if not isinstance(digests, dict):
        raise BundleError(f"{source}: its manifest states no sha256 of its files")
    known = {f.name for f in fields(Manifest)}
    if unknown := sorted(set(raw) - known):
        raise BundleError(f"{source}: unknown manifest key {unknown[0]!r}")
    try:
        manifest = _build_manifest(raw)
    except (TypeError, ValueError, KeyError, AttributeError, UsageError) as err:
        raise BundleError(f"{source}: its manifest is not valid ({err})") from err
    return manifest, digests


def _build_manifest(raw: dict[str, Any]) -> Manifest:
    phrases = tuple(raw.pop("phrases"))
    thresholds = _build_thresholds(raw.pop("thresholds"))
    manifest = Manifest(
        phrases=phrases,
        thresholds=thresholds,
        decision=DecisionConfig(**raw.pop("decision")),
        calibration=_build_calibration(raw.pop("calibration", {})),
        student=_build_student(raw.pop("student", None)),
        **raw,
    )
    _check_thresholds(manifest)
    _check_student(manifest)
    _check_window(manifest)
    _check_types(manifest)
    return manifest


def _build_thresholds(raw: dict[str, Any]) -> Thresholds:
    return {
        phrase: {rate: Threshold(float(t["value"]), bool(t["extrapolated"])) for rate, t in points.items()}
        for phrase, points in raw.items()
    }


def _build_calibration(raw: dict[str, Any]) -> Mapping[str, Mapping[str, Calibration]]:
    built = {
        mode: {phrase: Calibration(float(c["slope"]), float(c["offset"])) for phrase, c in curves.items()}
        for mode, curves in raw.items()
    }
    if not all(
        math.isfinite(c.slope) and math.isfinite(c.offset) for m in built.values() for c in m.values()
    ):
        raise ValueError("a calibration is not finite")
    return built


def _build_student(raw: dict[str, Any] | None) -> StudentManifest | None:
    if raw is None:
        return None
    gate = {phrase: float(value) for phrase, value in raw.pop("gate").items()}
    return StudentManifest(
        gate=gate,
        thresholds=_build_thresholds(raw.pop("thresholds")),
        cascade_thresholds=_build_thresholds(raw.pop("cascade_thresholds")),
        **raw,
    )


def _check_student(manifest: Manifest) -> None:
    student = manifest.student
    if student is None:
        return
    if set(student.gate) != set(manifest.phrases) or not all(0 < g <= 1 for g in student.gate.values()):
        raise ValueError("the student's gate is not one score in (0, 1] for each phrase")
    if type(student.hangover_hops) is not int or student.hangover_hops < 0:
        raise ValueError(f"a hangover of {student.hangover_hops!r} hops")
    if type(student.promising) is not float or not 0 <= student.promising <= 1:
        raise ValueError(f"a promising posterior of {student.promising!r}")
    if type(student.evidence) is not float or not 0 <= student.evidence <= 10:
        raise ValueError(f"a weight of {student.evidence!r} for the student's evidence")
    if type(student.stride_hops) is not int or not 1 <= student.stride_hops <= 12:
        raise ValueError(f"a verifier that runs once in {student.stride_hops!r} hops")
    if type(student.evidence_hops) is not int or not 1 <= student.evidence_hops <= 100:
        raise ValueError(f"the student's evidence of {student.evidence_hops!r} hops")


def _check_thresholds(manifest: Manifest) -> None:
    for mode in get_args(Mode):
        _check_points(manifest, manifest.thresholds_of(mode))


def _check_points(manifest: Manifest, thresholds: Thresholds) -> None:
    phrases = manifest.phrases
    if not phrases or len(set(phrases)) != len(phrases) or set(thresholds) != set(phrases):
        raise ValueError("phrases and thresholds do not match")
    if any(not 0 < t.value <= 1 for points in thresholds.values() for t in points.values()):
        raise ValueError("a threshold lies outside (0, 1]")
    rates = [manifest.default_fa_per_hour, *(rate for points in thresholds.values() for rate in points)]
    if any(not 0 < float(rate) < math.inf for rate in rates):
        raise ValueError("an operating point is not a number of false accepts per hour")


def _check_window(manifest: Manifest) -> None:
    shortest = {"mel": HOP_SAMPLES // FRAME_SAMPLES, "audio": HOP_SAMPLES}.get(manifest.input)
    if shortest is None or type(manifest.window) is not int or manifest.window < shortest:
        raise ValueError(f"input {manifest.input!r} with window {manifest.window!r}")
    if manifest.sample_rate != SAMPLE_RATE or manifest.hop_samples != HOP_SAMPLES:
        raise ValueError(f"{manifest.sample_rate} Hz and hops of {manifest.hop_samples} samples")


def _check_types(manifest: Manifest) -> None:
    texts = (manifest.name, manifest.encoder, manifest.wakeword_version, *manifest.phrases)
    tables = (manifest.training, manifest.results, manifest.licences)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(t, dict) for t in tables):
        raise ValueError("a text or a table was expected")
