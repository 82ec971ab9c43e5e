"""A small random student beside the small random verifier of `tiny`, for tests of the two together."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny import PHRASES, sounds, tiny_bundle

from export.student import add_student
from wakeword.bundle import Bundle, Threshold
from wakeword.config import StudentConfig
from wakeword.manifest import StudentManifest
from wakeword.mel import log_mel
from wakeword.train.student import StudentNet

HANGOVER = 2
GATES = (0.9, 0.8)


def student_net() -> StudentNet:
    """A student whose scores move about with the sound."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = StudentNet(PHRASES, StudentConfig(channels=8, kernel=3, dilations=(1, 2))).eval()
    with torch.no_grad():
        net.output.weight.mul_(4)
        mel = torch.from_numpy(log_mel(sounds(8.0, seed=7)))[None, :, :792]
        net.output.get_parameter("bias").sub_(net(mel)[0].quantile(0.9, dim=1)[0])
    return net


def cascade_bundle(*, evidence: float = 0.0, evidence_hops: int = 1, stride_hops: int = 1) -> Bundle:
    """Both in one bundle, with thresholds set by hand."""
    whole = add_student(tiny_bundle(), student_net(), log_mel(sounds(3.0)))
    settings = StudentManifest(
        gate=dict(zip(PHRASES, GATES, strict=True)),
        hangover_hops=HANGOVER,
        promising=0.0,
        evidence=evidence,
        evidence_hops=evidence_hops,
        stride_hops=stride_hops,
        cascade_thresholds={phrase: {"0.5": Threshold(0.6, False)} for phrase in PHRASES},
        thresholds={phrase: {"0.5": Threshold(0.7, False)} for phrase in PHRASES},
    )
    return replace(whole, manifest=replace(whole.manifest, student=settings))
