"""Sums up what a stream did, about four times in a second of its sound."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Sequence

import numpy as np

from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE, Samples
from wakeword.detector import Detector
from wakeword.listen.events import Pulse

EVERY_HOPS = 3


class PulseMaker:
    """Collects between two pulses of one stream."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._n_samples = 0
        self._verifiers: weakref.WeakKeyDictionary[Detector, int] = weakref.WeakKeyDictionary()
        self._begin()

    def _begin(self) -> None:
        self._heard, self._power, self._peak = 0, 0.0, 0.0
        self._hops = self._verified = 0
        self._cpu_s = 0.0
        self._scores: dict[str, float] = {}

    def add(self, piece: Samples, detectors: Sequence[Detector], cpu_s: float) -> None:
        """Take a piece of sound, at most a hop, after the detectors have heard it."""
        self._heard += len(piece)
        self._power += float(np.dot(piece, piece))
        self._peak = max(self._peak, float(np.abs(piece).max(initial=0)))
        self._cpu_s += cpu_s
        before, self._n_samples = self._n_samples, (self._n_samples + len(piece)) % HOP_SAMPLES
        if self._n_samples <= before:
            self._hops += 1
            self._verified += sum(self._verifications(detector) for detector in detectors)
            for detector in detectors:
                for phrase, score in detector.scores.items():
                    self._scores[phrase] = max(score, self._scores.get(phrase, 0.0))

    def due(self, time_s: float, lag_s: float) -> Pulse | None:
        """The next pulse, once enough was heard."""
        if self._hops < EVERY_HOPS:
            return None
        pulse = Pulse(
            stream=self._stream,
            time_s=time_s,
            at=time.time(),
            seconds=self._heard / SAMPLE_RATE,
            hops=self._hops,
            verified=self._verified,
            lag_s=lag_s,
            cpu_s=self._cpu_s,
            level_dbfs=_dbfs(math.sqrt(self._power / self._heard)),
            peak_dbfs=_dbfs(self._peak),
            scores=self._scores,
        )
        self._begin()
        return pulse

    def _verifications(self, detector: Detector) -> int:
        """Runs of its verifier since the last hop: one, or none."""
        if detector.mode == "verifier":
            return int(bool(detector.scores))
        now = getattr(detector.scorer, "verified", 0)
        before = self._verifiers.get(detector, 0)
        self._verifiers[detector] = now
        return int(now > before)


def _dbfs(amplitude: float) -> float:
    return 20 * math.log10(max(amplitude, 1e-6))
