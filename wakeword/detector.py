"""The detector a listener runs: audio in, events out.

A scorer turns audio into one posterior per phrase and 80 ms hop; `Detector` adds the decision. The judges of
`wakeword.evaluate` use the same two objects.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from wakeword.bundle import load_bundle
from wakeword.cascade import CascadeScorer, Student, StudentScorer
from wakeword.decision import Decision, Detection
from wakeword.errors import UsageError
from wakeword.manifest import Manifest, Mode
from wakeword.scorer import HopScorer, Scorer
from wakeword.verifier import Verifier


@dataclass(frozen=True)
class Models:
    """The networks of one bundle, loaded once and shared by any number of streams."""

    manifest: Manifest
    verifier: Verifier | None
    student: Student | None

    @property
    def mode(self) -> Mode:
        """What these networks make."""
        if self.student is None:
            return "verifier"
        return "student" if self.verifier is None else "cascade"

    def scorer(self) -> HopScorer:
        """A scorer for one stream."""
        if self.student is None:
            assert self.verifier is not None
            return Scorer(self.verifier)
        if self.verifier is None:
            return StudentScorer(self.student)
        return CascadeScorer(self.student, self.verifier)

    def detector(self, fa_per_hour: float | None = None, threshold: float | None = None) -> Detector:
        """A detector for one stream; arguments as in `load`."""
        return Detector(self, choose_thresholds(self.manifest, fa_per_hour, threshold, self.mode))


class Detector:
    """Finds its phrases in a stream of audio. One per stream; the models may be shared."""

    def __init__(self, models: Models | Verifier, thresholds: Sequence[float]) -> None:
        if isinstance(models, Verifier):
            models = Models(models.manifest, models, None)
        self.manifest = models.manifest
        self.mode = models.mode
        self.scorer = models.scorer()
        self._decision = Decision(self.phrases, thresholds, self.manifest.decision_of(self.mode))
        self._calibration = self.manifest.calibration.get(self.mode, {})

    @property
    def phrases(self) -> tuple[str, ...]:
        """What it listens for."""
        return self.manifest.phrases

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The posterior at which each phrase fires."""
        return self._decision.thresholds

    @property
    def scores(self) -> dict[str, float]:
        """phrase -> smoothed posterior at the last hop; empty until a window is full."""
        return dict(zip(self.phrases, self._decision.scores, strict=False))

    def reset(self) -> None:
        """Forget all audio and events; time starts at 0 again."""
        self.scorer.reset()
        self._decision.reset()

    def skip(self, n_samples: int) -> None:
        """Go on after a hole of that many samples, sound that was lost: time counts it, no window spans it.

        Nothing is heard until a window is full again. UsageError for a negative number.
        """
        if n_samples < 0:
            raise UsageError(f"cannot skip {n_samples} samples; a hole has 0 or more")
        self.scorer.skip(n_samples)
        self._decision.skip()

    def join(self, start: int, heard: npt.NDArray[np.generic], others: Sequence[Detector]) -> None:
        """Go on, in the middle of a stream, where other detectors are; makes no events. For a fresh detector.

        Args:
            start: number of the first sample of `heard` in the stream; a hop of theirs begins there.
            heard: the last samples [N] of the stream, two windows or more for the same events as theirs.
            others: for each phrase, the first that has it says whether it may fire.
        """
        self.scorer.skip(start)
        rows = [posteriors for _, posteriors in self.scorer.feed(heard)]
        self._decision.join(rows, [other._decision for other in others])

    def feed(self, samples: npt.NDArray[np.generic]) -> list[Detection]:
        """Take mono 16 kHz int16 or float32 samples [N] of any number; return the events in them.

        The events do not depend on how the stream is cut into blocks. AudioError for other types or NaN.
        """
        rows = self.scorer.feed(samples)
        events = [event for time_s, posteriors in rows for event in self._decision.update(posteriors, time_s)]
        return [self._calibrated(event) for event in events]

    def _calibrated(self, event: Detection) -> Detection:
        curve = self._calibration.get(event.phrase)
        return replace(event, probability=curve.probability(event.score)) if curve else event


def load(
    path: str | os.PathLike[str],
    fa_per_hour: float | None = None,
    threshold: float | None = None,
    mode: Mode | None = None,
) -> Detector:
    """Make a detector from a `.wakeword` file.

    Args:
        path: the bundle.
        fa_per_hour: false accepts per hour to run at, an operating point of the bundle (None: its default).
        threshold: a posterior in (0, 1] for all phrases, instead of an operating point.
        mode: cascade, verifier or student (None: cascade where the bundle holds a student, else verifier).

    Raises BundleError for a damaged or foreign file, UsageError for an operating point or a mode that it does
    not have.
    """
    return load_models(path, mode).detector(fa_per_hour, threshold)


def load_models(path: str | os.PathLike[str], mode: Mode | None = None) -> Models:
    """Load the networks that a mode needs, for any number of detectors; see `load`."""
    if mode is not None and mode not in get_args(Mode):
        raise UsageError(f"no mode {mode!r}; choose one of {', '.join(get_args(Mode))}")
    bundle, source = load_bundle(path), str(Path(path))
    if bundle.student is None and mode in ("cascade", "student"):
        raise UsageError(
            f"{source} holds no student, so it cannot run in mode {mode}; train it anew, or use verifier"
        )
    with_student = bundle.student is not None and mode != "verifier"
    student = Student(bundle, source) if with_student else None
    verifier = Verifier(bundle, source) if mode != "student" else None
    return Models(bundle.manifest, verifier, student)


def choose_thresholds(
    manifest: Manifest,
    fa_per_hour: float | None = None,
    threshold: float | None = None,
    mode: Mode | None = None,
) -> tuple[float, ...]:
    """One threshold per phrase; see `load`."""
    if threshold is not None:
        return (threshold,) * len(manifest.phrases)
    rate = float(manifest.default_fa_per_hour) if fa_per_hour is None else fa_per_hour
    return tuple(manifest.threshold(phrase, rate, mode).value for phrase in manifest.phrases)
