"""Graphs that take audio: log-mel in front of a graph that takes log-mel, for hosts without any DSP.

    verifier   audio [B, 160 (T + 2)] -> frames [B, T, 400] -> DFT as a product -> bands -> mel [B, 80, T]
    student    audio [1, 1280] after the 320 samples kept of the hop before -> mel [1, 80, 8]

The same frames as `wakeword.mel` makes of a stream: the last one ends 80 samples before its hop does, so
the verifier hears 80 samples more than lie under its frames.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import compose, helper

from export.builder import Array, GraphBuilder
from wakeword.audio import FRAME_SAMPLES, HOP_SAMPLES
from wakeword.cascade import HOP_FRAMES, SILENCE
from wakeword.mel import N_FFT, N_MELS, POWER_FLOOR, mel_filters
from wakeword.train.frontend import REST, windowed_dft

KEPT_SAMPLES = 2 * FRAME_SAMPLES
"""Of the hop before, under the first two frames of a hop."""
LATE_FRAMES = KEPT_SAMPLES // FRAME_SAMPLES
"""Frames of a hop that also hear the hop before; in the first hop there is none, and they are silent."""
PREFIX = "log_mel/"


def audio_samples(mel_frames: int) -> int:
    """Samples that the audio-in verifier takes for a window of so many frames: whole frame steps."""
    return (mel_frames + LATE_FRAMES) * FRAME_SAMPLES


def takes_audio(verifier: onnx.ModelProto) -> onnx.ModelProto:
    """The same verifier with input `audio` [B, 160 (T + 2)] in the place of `mel` [B, 80, T]."""
    mel = next(i for i in verifier.graph.input if i.name == "mel")
    frames = int(mel.type.tensor_type.shape.dim[2].dim_value)
    graph = GraphBuilder()
    audio = graph.input("audio", ["batch", audio_samples(frames)])
    graph.output("frames", ["batch", N_MELS, frames], _log_mel(graph, audio, frames))
    return _joined(graph, verifier)


def student_takes_audio(student: onnx.ModelProto) -> onnx.ModelProto:
    """The same student with input `audio` [1, 1280], a hop, in the place of `mel`.

    Two states more: `state_audio` [1, 320], and `state_started` [1], which tells the first hop from the rest.
    """
    graph = GraphBuilder()
    audio = graph.input("audio", [1, HOP_SAMPLES])
    kept, started = graph.input("state_audio", [1, KEPT_SAMPLES]), graph.input("state_started", [1])
    heard = graph.node("Concat", [kept, audio], axis=1)
    mel = _log_mel(graph, heard, HOP_FRAMES)
    late = graph.node("Mul", [graph.cut(mel, 0, LATE_FRAMES, 2), started])
    one = graph.constant(np.ones(1, dtype=np.float32))
    silence = graph.node("Mul", [graph.node("Sub", [one, started]), graph.constant(np.array([SILENCE]))])
    first = graph.node("Add", [late, silence])
    whole = graph.node("Concat", [first, graph.cut(mel, LATE_FRAMES, HOP_FRAMES, 2)], axis=2)
    graph.output("frames", [1, N_MELS, HOP_FRAMES], whole)
    end = HOP_SAMPLES + KEPT_SAMPLES
    graph.output("new_state_audio", [1, KEPT_SAMPLES], graph.cut(heard, HOP_SAMPLES, end, 1))
    graph.output("new_state_started", [1], graph.node("Max", [started, one]))
    return _joined(graph, student)


def _log_mel(graph: GraphBuilder, audio: str, frames: int) -> str:
    """[B, 160 (T + 2)] -> [B, 80, T]; see `wakeword.train.frontend.frames` for the three shifted views."""
    steps = graph.node("Reshape", [audio, graph.shape(0, frames + LATE_FRAMES, FRAME_SAMPLES)])
    views = [graph.cut(steps, shift, frames + shift, 1) for shift in range(3)]
    views[2] = graph.cut(views[2], 0, REST, 2)
    cut = graph.node("Concat", views, axis=2)
    spectrum = graph.node("MatMul", [cut, graph.constant(windowed_dft().numpy())])
    power = graph.node("MatMul", [graph.node("Mul", [spectrum, spectrum]), graph.constant(_filters())])
    floor = graph.constant(np.array([POWER_FLOOR], dtype=np.float32))
    nepers = graph.node("Log", [graph.node("Max", [power, floor])])
    log10 = graph.node("Mul", [nepers, graph.constant(np.array([1 / np.log(10)], dtype=np.float32))])
    return graph.node("Transpose", [log10], perm=[0, 2, 1])


def _filters() -> Array:
    """Bands [402, 80] over the squares of all real parts, then of all imaginary parts."""
    assert mel_filters().shape[1] * 2 == N_FFT + 2
    return np.ascontiguousarray(np.concatenate([mel_filters().T, mel_filters().T]))


def _joined(front: GraphBuilder, back: onnx.ModelProto) -> onnx.ModelProto:
    """One graph: `frames` of the front go to `mel` of the back, whose outputs and metadata are kept."""
    first = compose.add_prefix(front.model("log_mel", {}), PREFIX, rename_inputs=False, rename_outputs=False)
    back = _as_inputs_only(back)
    outputs = [o.name for o in back.graph.output] + [o.name for o in first.graph.output if o.name != "frames"]
    model: onnx.ModelProto = compose.merge_models(
        first, back, io_map=[("frames", "mel")], outputs=outputs, producer_name="wakeword"
    )
    helper.set_model_props(model, {p.key: p.value for p in back.metadata_props})
    onnx.checker.check_model(model, full_check=True)
    return model


def _as_inputs_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """The quantiser lists weights among the inputs of old graphs; whatever has a value is none."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    valued = {t.name for t in copy.graph.initializer}
    kept = [i for i in copy.graph.input if i.name not in valued]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy
