"""int8 weights for an ONNX graph."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize_dynamic_int8(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Matrix products with int8 weights, a scale per output channel; activations are quantised as they come.

    Convolutions stay float, and so does what turns audio into log-mel: its range is where int8 loses most.
    """
    # It advises a pre-processing that changes nothing here: shapes are inferred already.
    with tempfile.TemporaryDirectory() as folder, _quiet():
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that the quantiser gives by the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
