"""The student as an ONNX graph that a stream runs hop by hop, its memory in and out by name.

Written node by node, and with time first: a convolution over the two steps of a hop becomes one matrix
product, at half the time that onnxruntime's convolution takes at this size.

    mel [1, 80, 8] -> steps [2, 320] -> Gemm, ReLU -> x [2, C]
    state [n, C] + x -> seen [n + 2, C] -> Gather -> [2, kernel x C] -> Gemm, ReLU -> + x -> x
                        `-> its last n rows: the new state
    x -> Gemm -> [2, K] -> max over the steps -> sigmoid -> score [1, K]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import torch

from export.builder import Array, GraphBuilder
from wakeword.bundle import Bundle
from wakeword.cascade import HOP_FRAMES, StudentStream, golden_scores
from wakeword.errors import ExportError
from wakeword.manifest import StudentManifest
from wakeword.train.student import MEL_SCALE, MEL_SHIFT, StudentNet
from wakeword.verifier import logit, make_session

HANGOVER_HOPS = 3
"""Hops (of 80 ms) that the verifier goes on after the last suspicion: until it has the phrase's end."""
PROMISING = 0.02
"""Posterior below which it does not."""
EVIDENCE = 1.0
"""Weight of the student's word in the cascade's posterior."""
EVIDENCE_BESIDE_RECOGNISER = 0.25
"""The same where the verifier's holds the word of a recogniser, which errs less than a student does."""
EVIDENCE_HOPS = 8
"""So long its highest score counts: it peaks with the phrase's end, where the verifier may still rise."""
STRIDE_HOPS = 2
"""The verifier's windows overlap by all but 80 ms: at every second hop it hears as much on dev, for less."""
MAX_DIFFERENCE = 1e-4
"""Score by which the graph may differ from torch anywhere in a stream."""


def student_graph(
    net: StudentNet, metadata: Mapping[str, object], frames: int = HOP_FRAMES
) -> onnx.ModelProto:
    """Export the student for hops of `frames` frames.

    Inputs `mel` [1, M, frames] and `state_<i>` [n, C], zeros at the start; outputs `score` [1, K], the
    highest posterior of the hop's steps, and `new_state_<i>`. `metadata` is stored in the file, each value
    as JSON.
    """
    net, config = net.folded(), net.config
    if frames % config.stride:
        raise ExportError(f"hops of {frames} frames do not hold whole steps of {config.stride} frames")
    n_steps, width = frames // config.stride, config.channels
    graph = GraphBuilder()
    graph.input("mel", [1, config.n_features, frames])
    by_time = graph.node("Transpose", ["mel"], perm=[0, 2, 1])
    steps = graph.node("Reshape", [by_time, graph.shape(n_steps, config.stride * config.n_features)])
    x = graph.node("Relu", [graph.dense(steps, *_stem_weights(net))])
    for i, (block, dilation) in enumerate(zip(net.blocks, config.dilations, strict=True)):
        past = (config.kernel - 1) * dilation
        seen = graph.node("Concat", [graph.input(f"state_{i}", [past, width]), x], axis=0)
        graph.output(f"new_state_{i}", [past, width], graph.last_rows(seen, past))
        taps = [[step + tap * dilation for tap in range(config.kernel)] for step in range(n_steps)]
        heard = graph.node("Gather", [seen, graph.constant(np.array(taps, dtype=np.int64))], axis=0)
        flat = graph.node("Reshape", [heard, graph.shape(n_steps, config.kernel * width)])
        x = graph.node("Add", [x, graph.node("Relu", [graph.dense(flat, *_weights(block))])])
    best = graph.node("ReduceMax", [graph.dense(x, *_weights(net.output)), graph.shape(0)], keepdims=1)
    graph.output("score", [1, len(net.phrases)], graph.node("Sigmoid", [best]))
    return graph.model("student", metadata)


def _weights(conv: torch.nn.Module) -> tuple[Array, Array]:
    """A convolution's weights as a matrix [kernel x C, out] over time-first taps, and its bias."""
    assert isinstance(conv, torch.nn.Conv1d) and conv.bias is not None
    weight = conv.weight.detach().cpu().permute(2, 1, 0).flatten(0, 1)
    return np.ascontiguousarray(weight.numpy()), conv.bias.detach().cpu().numpy()


def _stem_weights(net: StudentNet) -> tuple[Array, Array]:
    """The stem's, with the scaling of its input folded in."""
    weight, bias = _weights(net.stem)
    scaled = (bias + weight.sum(axis=0, dtype=np.float64) * MEL_SHIFT / MEL_SCALE).astype(np.float32)
    return weight / np.float32(MEL_SCALE), scaled


def add_student(bundle: Bundle, net: StudentNet, mel: Array, evidence: float = EVIDENCE) -> Bundle:
    """The bundle with this student, its gate and thresholds still to be set (all at 1).

    `evidence` is the weight of its word in the cascade's posterior. `mel` [M, T] is a stream to compare graph
    and net on; ExportError where they differ.
    """
    graph = student_graph(net, {"phrases": net.phrases})
    check_student(net, graph, mel)
    data = graph.SerializeToString()
    scores = golden_scores(StudentStream(make_session(data)), bundle.golden.audio)
    settings = StudentManifest(
        gate=dict.fromkeys(net.phrases, 1.0),
        hangover_hops=HANGOVER_HOPS,
        promising=PROMISING,
        evidence=evidence,
        evidence_hops=EVIDENCE_HOPS,
        stride_hops=STRIDE_HOPS,
        thresholds={phrase: {} for phrase in net.phrases},
        cascade_thresholds={phrase: {} for phrase in net.phrases},
    )
    manifest = replace(bundle.manifest, student=settings)
    return Bundle(manifest, bundle.verifier, replace(bundle.golden, student=logit(scores)), data)


def check_student(net: StudentNet, graph: onnx.ModelProto, mel: Array) -> float:
    """Run a stream of log-mel [M, T] through graph and net; the largest difference in score.

    Raises ExportError where it is too large.
    """
    session = make_session(graph.SerializeToString())
    shapes = {i.name: i.shape for i in session.get_inputs()}
    frames = shapes.pop("mel")[2]
    states = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    whole = mel[:, : mel.shape[1] // frames * frames]
    scores = []
    for hop in np.split(whole, whole.shape[1] // frames, axis=1):
        score, *new = session.run(None, {"mel": np.ascontiguousarray(hop[None]), **states})
        states = dict(zip(states, new, strict=True))
        scores.append(score[0])
    with torch.inference_mode():
        logits, _ = net.eval().cpu()(torch.from_numpy(whole[None]))
    expected = torch.sigmoid(logits[0].unflatten(0, (len(scores), -1)).amax(dim=1)).numpy()
    off = float(np.abs(np.stack(scores) - expected).max())
    if not off <= MAX_DIFFERENCE:
        raise ExportError(f"the student's graph differs from torch by {off:.5f} in score")
    return off
