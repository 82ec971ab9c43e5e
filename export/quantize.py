"""int8 and float16 for an ONNX graph."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter notes the module that a node comes from."""


def quantize_dynamic_int8(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Matrix products with int8 weights, a scale per output channel; activations are quantised as they come.

    The weights keep to 7 bits: on x86 without VNNI (AVX2 alone, AMD before Zen 4) the kernel adds pairs
    of products in 16 bits. With 8 bits they saturate, and the tests' net was off by 0.4 in posterior on
    average. It costs no time.

    Convolutions that `export.unfold` left stay float, and so does what turns audio into log-mel: its range is
    where int8 loses most.
    """
    return _dynamic(graph, ["MatMul"], _log_mel_nodes(graph))


def _dynamic(graph: onnx.ModelProto, operators: list[str], excluded: list[str]) -> onnx.ModelProto:
    # It advises a pre-processing that changes nothing here: shapes are inferred already.
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=operators,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            nodes_to_exclude=excluded,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(target)


def quantize_student_int8(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The student with int8 weights: a quarter of the size."""
    return _dynamic(graph, ["MatMul", "Gemm"], [])


def quantize_static_int8(graph: onnx.ModelProto, windows: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """Matrix products between QuantizeLinear and DequantizeLinear, all ranges fixed in advance.

    `windows` [n, ...] are inputs to measure the ranges on; use phrases and background of the dev split.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        quantize_static(
            source,
            target,
            _Windows(graph.graph.input[0].name, windows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_log_mel_nodes(graph),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": False},
        )
        return onnx.load(target)


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands the quantiser one window at a time."""

    def __init__(self, name: str, windows: npt.NDArray[np.float32]) -> None:
        self._feeds = iter({name: window[None]} for window in windows)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next input, None after the last."""
        return next(self._feeds, None)


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Half the size: float16 weights and products, float32 in and out; log-mel stays float32.

    For GPUs and phones that compute in it. A CPU without float16 converts, and gains nothing.
    """
    with quiet(), warnings.catch_warnings():
        # It tells of each weight too small for float16: they become the smallest there is.
        warnings.simplefilter("ignore")
        half: onnx.ModelProto = convert_float_to_float16(
            _copy(graph), keep_io_types=True, node_block_list=_log_mel_nodes(graph)
        )
    del half.graph.value_info[:]
    OnnxModel(half).topological_sort()  # the converter appends its casts at the end
    return half


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    return copy


def _log_mel_nodes(graph: onnx.ModelProto) -> list[str]:
    """Names of the nodes that the exporter made of `WakewordNet.log_mel`."""
    scopes = {
        node.name: [p.value for p in node.metadata_props if p.key == SCOPES] for node in graph.graph.node
    }
    return [name for name, found in scopes.items() if any("'net.log_mel'" in scope for scope in found)]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what onnxruntime's tools tell by the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
