"""int8 weights for an ONNX graph."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize_dynamic_int8(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Matrix products with int8 weights, one scale per output channel; activations are quantised as they come.

    Convolutions stay float, and so does what turns audio into log-mel: its range is where int8 loses most.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(target)
