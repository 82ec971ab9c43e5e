"""For Espressif's ESP-DL runtime: the student as a float ONNX graph, quantised anew by esp-ppq. Optional.

ESP-DL's scales are powers of two, so this is another quantisation than the one that everything else here
shares and that is proven byte by byte: how far it is from that is measured and said in `<phrase>.espdl.json`.
The graph takes a window of features and gives the posterior of its last step. It was not run on a device.

Source: esp-ppq, `espdl_quantize_onnx` (github.com/espressif/esp-ppq).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from firmware_bridge.micro import micro_features
from firmware_bridge.network import INPUT_SCALE, INPUT_ZERO_POINT, N_FEATURES, Conv, QuantisedNet
from firmware_bridge.network_file import FirmwareModel, slug
from firmware_bridge.proof_audio import golden_pcm
from firmware_bridge.reference import ReferenceNet
from wakeword.errors import ExportError
from wakeword.files import written_whole

OPSET = 13
WINDOWS = 64
"""On which esp-ppq finds its ranges, and on which the result is compared."""
INSTALL = "pip install esp-ppq"
"""No extra of this package: it takes onnx below 1.20, and would hold everybody to that."""

Array = npt.NDArray[np.float32]


def build_espdl(student: FirmwareModel, out: Path, chip: str) -> dict[str, Any]:
    """Write `<phrase>.espdl` and `<phrase>.espdl.json` into `out`; returns what the JSON says.

    Raises ExportError where esp-ppq is not installed or refuses the graph.
    """
    if importlib.util.find_spec("esp_ppq") is None:
        raise ExportError(f"target espdl needs esp-ppq; run: {INSTALL}")
    net = student.net
    windows = _windows(net)
    name = slug(net.phrase)
    with tempfile.TemporaryDirectory() as folder:
        model, result = Path(folder) / "student.onnx", Path(folder) / f"{name}.espdl"
        onnx.save(float_graph(net), str(model))
        said = _quantise(model, result, windows, chip)
        data = result.read_bytes()
    expected = np.array([_last_posterior(net, window) for window in windows])
    facts = {
        "phrase": net.phrase,
        "chip": chip,
        "input_shape": [1, N_FEATURES, n_frames(net)],
        "input_scale": INPUT_SCALE,
        "input_zero_point": INPUT_ZERO_POINT,
        "windows_compared": len(windows),
        "posterior_off_mean": round(float(np.abs(said - expected).mean()), 5),
        "posterior_off_max": round(float(np.abs(said - expected).max()), 5),
        "bytes": len(data),
    }
    out.mkdir(parents=True, exist_ok=True)
    for path, content in (
        (out / f"{name}.espdl", data),
        (out / f"{name}.espdl.json", (json.dumps(facts, indent=1) + "\n").encode()),
    ):
        with written_whole(path) as partial:
            partial.write_bytes(content)
    return facts


def n_frames(net: QuantisedNet) -> int:
    """Feature frames that the last step hears."""
    steps = 1 + sum((conv.taps - 1) * conv.dilation for block in net.blocks for conv in block.convs)
    return steps * net.stride


def float_graph(net: QuantisedNet) -> onnx.ModelProto:
    """The network with real numbers for its integers: features [1, 40, n_frames] -> posterior [1, 1, 1]."""
    frames = n_frames(net)
    nodes, weights = list[onnx.NodeProto](), list[onnx.TensorProto]()

    def constant(name: str, values: npt.NDArray[Any]) -> str:
        weights.append(numpy_helper.from_array(values, name))
        return name

    def convolve(name: str, conv: Conv, x: str) -> str:
        kernel, bias = _real(conv)
        taken = [x, constant(f"{name}.weight", kernel), constant(f"{name}.bias", bias)]
        groups = conv.n_in if conv.kind == "depthwise" else 1
        steps = {"strides": [conv.stride], "dilations": [conv.dilation]}
        nodes.append(helper.make_node("Conv", taken, [name], name, group=groups, **steps))  # type: ignore[arg-type]
        if not conv.relu:
            return name
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"], f"{name}.relu"))
        return f"{name}.relu"

    x, length = convolve("stem", net.stem, "features"), frames // net.stride
    for i, block in enumerate(net.blocks):
        y = x
        for j, conv in enumerate(block.convs):
            y = convolve(f"{i}.{j}", conv, y)
            length -= (conv.taps - 1) * conv.dilation
        ends = [
            constant(f"{i}.{part}", np.array([value], dtype=np.int64))
            for part, value in (("start", -length), ("end", np.iinfo(np.int64).max), ("axis", 2))
        ]
        nodes.append(helper.make_node("Slice", [x, *ends], [f"{i}.newest"], f"{i}.newest"))
        nodes.append(helper.make_node("Add", [f"{i}.newest", y], [f"{i}.sum"], f"{i}.sum"))
        x = f"{i}.sum"
    nodes.append(helper.make_node("Sigmoid", [convolve("logit", net.output, x)], ["posterior"], "posterior"))
    graph = helper.make_graph(
        nodes,
        slug(net.phrase),
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, N_FEATURES, frames])],
        [helper.make_tensor_value_info("posterior", TensorProto.FLOAT, [1, 1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _real(conv: Conv) -> tuple[Array, Array]:
    """Weights [out, in, taps] (depthwise [out, 1, taps]) and biases of a convolution as real numbers."""
    scales = np.broadcast_to(conv.weight_scales.astype(np.float64), (len(conv.bias),))
    kernel = conv.weights.astype(np.float64)
    kernel = kernel.T[:, None, :] if conv.kind == "depthwise" else kernel.transpose(0, 2, 1)
    return (
        np.ascontiguousarray(kernel * scales[:, None, None], dtype=np.float32),
        (conv.bias * scales * conv.input.scale).astype(np.float32),
    )


def _windows(net: QuantisedNet) -> Array:
    """Features of a sound with speech-like and quiet parts, as real numbers [n, 40, frames]."""
    features = micro_features(golden_pcm())
    frames = n_frames(net)
    starts = np.linspace(0, len(features) - frames, min(WINDOWS, len(features) - frames)).astype(int)
    cut = np.stack([features[start : start + frames] for start in starts]).astype(np.float32)
    real = (cut - np.float32(INPUT_ZERO_POINT)) * np.float32(INPUT_SCALE)
    return np.ascontiguousarray(real.transpose(0, 2, 1))


def _last_posterior(net: QuantisedNet, window: Array) -> float:
    features = np.rint(window.T / INPUT_SCALE + INPUT_ZERO_POINT).astype(np.int8)
    return float(ReferenceNet(net).feed(features)[-1]) / 256


def _quantise(model: Path, result: Path, windows: Array, chip: str) -> npt.NDArray[np.float64]:
    """Run esp-ppq; what its quantised graph says of the windows [n]."""
    import torch

    talk = io.StringIO()  # a banner, bars and tables, not meant for a user of this command
    try:
        with contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
            from esp_ppq.api import espdl_quantize_onnx
            from esp_ppq.executor import TorchExecutor

            batches = [torch.from_numpy(window[None]) for window in windows]
            graph = espdl_quantize_onnx(
                str(model),
                str(result),
                calib_dataloader=batches,
                calib_steps=len(batches),
                input_shape=[1, *windows.shape[1:]],
                target=chip,
                num_of_bits=8,
                error_report=False,
            )
            executor = TorchExecutor(graph, device="cpu")
            said = [float(executor.forward(batch)[0].reshape(-1)[0]) for batch in batches]
    except Exception as err:  # esp-ppq raises whatever its parts do
        raise ExportError(f"esp-ppq refused the student for {chip}: {err}") from err
    return np.asarray(said)
