"""What every runtime of the proof is to give, slice by slice: by numpy, and by TensorFlow Lite Micro."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.decision import FirmwareDecision, FirmwareRule
from firmware_bridge.emit_model import CModel
from firmware_bridge.micro import micro_features
from firmware_bridge.network import N_FEATURES, Int8, QuantisedNet
from firmware_bridge.proof_audio import Pcm
from firmware_bridge.reference import ReferenceNet

UInt8 = npt.NDArray[np.uint8]
RECORD_BYTES = N_FEATURES + 5
"""Per slice: features, is_step, score, is_event, mean, peak; see c/proof/trace.c."""
ARENA_BYTES = 1 << 18


@dataclass(frozen=True)
class Expected:
    """What comes of some audio."""

    features: Int8
    """[F, 40]"""
    scores: UInt8
    """[S]"""
    records: UInt8
    """[F, RECORD_BYTES]"""

    @property
    def event_slices(self) -> list[int]:
        """Slices with an event, counted from 0."""
        return [int(i) for i in np.flatnonzero(self.records[:, N_FEATURES + 2])]


def expect(model: CModel, pcm: Pcm) -> Expected:
    """Features by `pymicro-features`, scores by numpy, events by the firmware's rule. int16 [N] at 16 kHz."""
    features = micro_features(pcm)
    scores = ReferenceNet(model.net).feed(features)
    stride = model.net.stride
    records = np.zeros((len(features), RECORD_BYTES), dtype=np.uint8)
    records[:, :N_FEATURES] = features.view(np.uint8)
    records[stride - 1 :: stride, N_FEATURES] = 1
    records[stride - 1 :: stride, N_FEATURES + 1] = scores
    records[:, N_FEATURES + 2 :] = _events(model.rule, scores, len(features))
    return Expected(features, scores, records)


def _events(rule: FirmwareRule, scores: UInt8, n_slices: int) -> UInt8:
    """is_event, mean and peak of each slice [F, 3]."""
    decision = FirmwareDecision(rule)
    told = np.zeros((n_slices, 3), dtype=np.uint8)
    since: list[int] = []
    for i in range(n_slices):
        score = int(scores[i // rule.stride]) if i % rule.stride == rule.stride - 1 else None
        if score is not None:
            since = [*since, score][-rule.window :]
        if decision.slice(score):
            told[i] = 1, sum(since) // rule.window, max(since)
            since = []
    return told


def tflm_scores(net: QuantisedNet, features: Int8) -> UInt8:
    """The scores [S] of TensorFlow Lite Micro's own interpreter, running the network as a `.tflite`."""
    from tflite_micro import runtime

    from firmware_bridge.tflite import write_tflite

    interpreter = runtime.Interpreter.from_bytes(write_tflite(net), arena_size=ARENA_BYTES)
    steps = features[: len(features) // net.stride * net.stride].reshape(-1, net.stride, N_FEATURES)
    scores = np.zeros(len(steps), dtype=np.uint8)
    for i, step in enumerate(steps):
        interpreter.set_input(step[None], 0)
        interpreter.invoke()
        scores[i] = interpreter.get_output(0).item()
    return scores
