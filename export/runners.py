"""The networks of an exported folder behind the runtime's scorers: each variant listens as one detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from export.description import window_samples
from wakeword.audio import Samples
from wakeword.bundle import Bundle
from wakeword.cascade import CascadeScorer, Student, StudentStream
from wakeword.decision import Posteriors
from wakeword.manifest import Manifest
from wakeword.mel import Mel
from wakeword.scorer import HopScorer, Scorer
from wakeword.train.model import WakewordNet
from wakeword.verifier import Verifier, make_session


@dataclass(frozen=True)
class Variant:
    """One way to run the detector: which verifier, which student, in what."""

    name: str
    precision: str
    size_bytes: int
    verifier: Callable[[], Verifier]
    """Made anew where it runs: sessions do not travel between processes."""
    student: Callable[[], Student] | None

    def scorer(self, always: bool = False) -> HopScorer:
        """A scorer of the cascade, or of the verifier at every hop."""
        if always or self.student is None:
            return Scorer(self.verifier())
        student = self.student()
        if isinstance(student, AudioStudent):
            return _AudioCascadeScorer(student, self.verifier())
        return CascadeScorer(student, self.verifier())


class SessionVerifier(Verifier):
    """A verifier from a file, not checked against a golden vector: that is what it is here for."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self.manifest, self._session = manifest, session


class TorchVerifier(Verifier):
    """The trained net itself."""

    def __init__(self, manifest: Manifest, net: WakewordNet) -> None:
        self.manifest, self.net = manifest, net

    def __call__(self, window: npt.NDArray[np.float32]) -> Posteriors:
        """Posteriors [K] of one window."""
        with torch.inference_mode():
            posterior = torch.sigmoid(self.net(torch.from_numpy(window[None])))
        return np.asarray(posterior[0].numpy(), dtype=np.float32)


class SessionStudent(Student):
    """A student from a file that takes log-mel."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        assert manifest.student is not None
        self.manifest, self.settings, self.session = manifest, manifest.student, session


class AudioStudent(SessionStudent):
    """A student from a file that takes samples."""

    def stream(self) -> StudentStream:
        """The student at the start of a stream."""
        return _AudioStudentStream(self.session)


class _AudioStudentStream(StudentStream):
    """Hears the samples of a hop before it is asked; the log-mel it is asked with does not matter."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._shapes = {i.name: i.shape for i in session.get_inputs() if i.name != "audio"}
        self._outputs = [o.name for o in session.get_outputs()]
        self.reset()

    def reset(self) -> None:
        """Forget all audio."""
        self._memory = {name: np.zeros(shape, dtype=np.float32) for name, shape in self._shapes.items()}

    def hear(self, hop: Samples) -> None:
        """Take the samples [1280] of the next hop."""
        outputs = self._session.run(None, {"audio": np.ascontiguousarray(hop[None]), **self._memory})
        named = dict(zip(self._outputs, outputs, strict=True))
        self._scores = np.asarray(named.pop("score")[0], dtype=np.float32)
        self._memory = {name.removeprefix("new_"): value for name, value in named.items()}

    def feed(self, mel: Mel) -> Posteriors:
        """Scores [K] of the hop that was heard."""
        return self._scores


class _AudioCascadeScorer(CascadeScorer):
    def _score(self, hop: Samples) -> Posteriors | None:
        assert isinstance(self._student, _AudioStudentStream)
        self._student.hear(hop)
        return super()._score(hop)


def folder_variants(folder: Path, description: Mapping[str, Any], manifest: Manifest) -> list[Variant]:
    """A variant for each verifier with the fp32 student of its kind, then one for each other student."""
    files = description["files"]
    verifiers = [f for f in files if f["role"] == "verifier"]
    students = [f for f in files if f["role"] == "student"]
    pairs = [(v, _match(v, students, "fp32")) for v in verifiers]
    pairs += [(v, s) for s in students if s["precision"] != "fp32" for v in verifiers if _match(v, [s], "")]
    kept = [(v, s) for v, s in pairs if s is None or s["precision"] == "fp32" or v["precision"] == "int8"]
    return [_variant(folder, manifest, v, s) for v, s in kept]


def _match(verifier: Mapping[str, Any], students: list[Any], precision: str) -> Any:
    alike = [s for s in students if all(s[key] == verifier[key] for key in ("input", "runtime"))]
    return next((s for s in alike if precision in ("", s["precision"])), None)


def _variant(folder: Path, manifest: Manifest, verifier: Any, student: Any) -> Variant:
    taken = manifest if verifier["input"] == manifest.input else _audio_manifest(manifest)
    name = f"{verifier['runtime']} {verifier['input']} {verifier['precision']}"
    other = student is not None and student["precision"] != "fp32"
    kind = AudioStudent if verifier["input"] == "audio" else SessionStudent
    return Variant(
        f"{name}, student {student['precision']}" if other else name,
        verifier["precision"],
        (student if other else verifier)["bytes"],
        lambda: SessionVerifier(taken, make_session(str(folder / verifier["file"]))),
        None if student is None else lambda: kind(taken, make_session(str(folder / student["file"]))),
    )


def _audio_manifest(manifest: Manifest) -> Manifest:
    return replace(manifest, input="audio", window=window_samples(manifest))


def bundle_variant(bundle: Bundle) -> Variant:
    """The bundle as `wakeword listen` runs it."""
    student = None if bundle.student is None else lambda: Student(bundle)
    return Variant("bundle", "int8", len(bundle.verifier), lambda: Verifier(bundle), student)


def torch_variant(bundle: Bundle, net: WakewordNet) -> Variant:
    """The trained net, behind the bundle's student."""
    student = None if bundle.student is None else lambda: Student(bundle)
    size = sum(p.numel() * 4 for p in net.parameters())
    return Variant("torch", "fp32", size, lambda: TorchVerifier(bundle.manifest, net), student)
