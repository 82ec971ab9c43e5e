"""One system under test in a process of its own, hop by hop; started by cost.py, which tells it what to hear.

    python benchmarks/cost_systems.py SYSTEM MODEL

Says `ready` once the system is loaded and has heard its first hop; then takes one JSON request a line
({"audio", "first", "hops"}) and answers each with the time of every hop. Imports nothing of a system that
it does not run, so that its memory is that system's.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

HOP_SAMPLES = 1_280
N_STREAMS = 16
LIVEKIT_HOPS = 25
"""2 s, what its own listener passes at every hop."""

Hop = npt.NDArray[np.int16]
Audio = npt.NDArray[np.int16]
"""int16 [H, 1280]."""


class System(Protocol):
    """What is measured."""

    every: int
    """It computes at one hop in so many; the others are not counted."""

    def hear(self, audio: Audio, i: int) -> None:
        """Take hop i of the audio."""

    def facts(self) -> dict[str, Any]:
        """What else there is to say, up to now."""


class Ours:
    """A detector as `wakeword.load` gives it."""

    every = 1

    def __init__(self, model: str, mode: str) -> None:
        import wakeword

        self.detector: Any = wakeword.load(model, mode=mode)  # type: ignore[arg-type]
        self._size = Path(model).stat().st_size

    def hear(self, audio: Audio, i: int) -> None:
        if i == 0:
            self.detector.reset()
        self.detector.feed(audio[i])

    def facts(self) -> dict[str, Any]:
        scorer = self.detector.scorer
        return {"bytes": self._size, "hops": scorer.hops, "verified": getattr(scorer, "verified", None)}


class Profiled(Ours):
    """The same, with a stopwatch around each part; the watches take about 1 µs a hop."""

    def __init__(self, model: str, mode: str) -> None:
        super().__init__(model, mode)
        self._spent: dict[str, float] = {}
        scorer = self.detector.scorer
        self._watch("log-mel", scorer._mel, "feed")
        self._watch("student", scorer._student, "feed")
        self._watch("verifier", scorer, "_ask")
        self._watch("decision", self.detector._decision, "update")

    def _watch(self, part: str, owner: Any, method: str) -> None:
        inner: Callable[..., Any] = getattr(owner, method)
        self._spent[part] = 0.0

        def timed(*args: Any) -> Any:
            start = time.perf_counter()
            result = inner(*args)
            self._spent[part] += time.perf_counter() - start
            return result

        setattr(owner, method, timed)

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"spent_s": dict(self._spent)}


class Streams:
    """Many detectors on one set of models, each at another place of the same audio."""

    every = 1

    def __init__(self, model: str, mode: str) -> None:
        import wakeword.detector

        models = wakeword.detector.load_models(model, mode)  # type: ignore[arg-type]
        self._detectors = [models.detector() for _ in range(N_STREAMS)]

    def hear(self, audio: Audio, i: int) -> None:
        for k, detector in enumerate(self._detectors):
            detector.feed(audio[(i + k * len(audio) // N_STREAMS) % len(audio)])

    def facts(self) -> dict[str, Any]:
        return {}


class OpenWakeWord:
    """openWakeWord's own `Model` with its own `alexa`, on onnxruntime (its default: one thread)."""

    every = 1

    def __init__(self, model: str) -> None:
        warnings.filterwarnings("ignore", message=".*CUDAExecutionProvider.*")
        import openwakeword

        path = Path(openwakeword.models["alexa"]["model_path"])
        self._model = openwakeword.Model([str(path)])
        self._files = [path, path.with_name("melspectrogram.onnx"), path.with_name("embedding_model.onnx")]

    def hear(self, audio: Audio, i: int) -> None:
        self._model.predict(audio[i])

    def facts(self) -> dict[str, Any]:
        return {"bytes": _size(self._files)}


class LiveKit:
    """livekit-wakeword's own `WakeWordModel` on the last 2 s, as its listener calls it.

    It ships no phrase; the classifier is openWakeWord's `alexa`, which has the same interface. Nothing is
    kept from hop to hop, so one hop in four is enough to know its cost.
    """

    every = 4

    def __init__(self, model: str) -> None:
        import onnxruntime
        from livekit.wakeword import WakeWordModel, resources

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        classifier = _package_file("openwakeword", "resources/models/alexa_v0.1.onnx")
        self._model = WakeWordModel([classifier], sess_options=options)
        self._files = [classifier, resources.get_mel_model_path(), resources.get_embedding_model_path()]
        silence = np.zeros(HOP_SAMPLES, dtype=np.int16)
        self._heard: deque[Hop] = deque([silence] * LIVEKIT_HOPS, maxlen=LIVEKIT_HOPS)

    def hear(self, audio: Audio, i: int) -> None:
        self._heard.append(audio[i])
        if i % self.every == 0:
            self._model.predict(np.concatenate(list(self._heard)))

    def facts(self) -> dict[str, Any]:
        return {"bytes": _size(self._files)}


class PyOpenWakeWord:
    """pyopen-wakeword (openWakeWord on TensorFlow Lite) with its `alexa`."""

    every = 1

    def __init__(self, model: str) -> None:
        from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

        self._features = OpenWakeWordFeatures.from_builtin()
        self._word = OpenWakeWord.from_builtin(Model.ALEXA)
        self._files = [self._word.tflite_model, self._features.mel_path, self._features.emb_path]

    def hear(self, audio: Audio, i: int) -> None:
        for embeddings in self._features.process_streaming(audio[i].tobytes()):
            for _ in self._word.process_streaming(embeddings):
                pass

    def facts(self) -> dict[str, Any]:
        return {"bytes": _size(self._files)}


class MicroWakeWord:
    """pymicro-wakeword with one of its own models."""

    every = 1

    def __init__(self, word: str) -> None:
        from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

        self._features = MicroWakeWordFeatures()
        self._word = MicroWakeWord.from_builtin(Model(word))

    def hear(self, audio: Audio, i: int) -> None:
        for features in self._features.process_streaming(audio[i].tobytes()):
            self._word.process_streaming(features)

    def facts(self) -> dict[str, Any]:
        return {"bytes": _size([Path(self._word.tflite_model)])}


SYSTEMS: dict[str, Callable[[str], System]] = {
    "wakeword cascade": lambda model: Ours(model, "cascade"),
    "wakeword verifier": lambda model: Ours(model, "verifier"),
    "wakeword student": lambda model: Ours(model, "student"),
    "openWakeWord 0.4.0": OpenWakeWord,
    "livekit-wakeword 0.3.0": LiveKit,
    "pyopen-wakeword 1.1.0": PyOpenWakeWord,
    "pymicro-wakeword 2.5.0 alexa": lambda _: MicroWakeWord("alexa"),
    "pymicro-wakeword 2.5.0 okay_nabu": lambda _: MicroWakeWord("okay_nabu"),
    "profile": lambda model: Profiled(model, "cascade"),
    "streams": lambda model: Streams(model, "cascade"),
}


def _package_file(package: str, path: str) -> Path:
    """A file of an installed package, without importing it."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed here; see benchmarks/cost.py")
    return Path(spec.origin).parent / path


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process that is in RAM now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def measure(system: System, audio: Audio, first: int, hops: int) -> dict[str, Any]:
    """Let it hear `hops` hops: seconds of each by the clock on the wall, and of processor, all threads."""
    wall, cpu = [], []
    for i in range(first, first + hops):
        start, start_cpu = time.perf_counter(), time.process_time()
        system.hear(audio, i)
        spent_cpu, spent = time.process_time() - start_cpu, time.perf_counter() - start
        if i % system.every == 0:
            wall.append(spent)
            cpu.append(spent_cpu)
    return {"wall_s": wall, "cpu_s": cpu, "resident_bytes": resident_bytes(), **system.facts()}


def main() -> None:
    # One core, or TensorFlow Lite would take two, whatever the environment says.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    system = SYSTEMS[sys.argv[1]](sys.argv[2])
    system.hear(np.zeros((1, HOP_SAMPLES), dtype=np.int16), 0)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        audio = np.asarray(np.load(request["audio"], mmap_mode="r"))
        print(json.dumps(measure(system, audio, request["first"], request["hops"])), flush=True)


if __name__ == "__main__":
    main()
