"""ONNX graphs written node by node."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
"""The first with Gelu as one operator; every onnxruntime since 1.17 (2024) runs it."""
IR_VERSION = 10
"""What onnxruntime 1.18 (2024) reads; onnx itself would write its newest."""

Array = npt.NDArray[np.float32]


class GraphBuilder:
    """An ONNX graph in the making; each value is known by its name."""

    def __init__(self) -> None:
        self._nodes = list[onnx.NodeProto]()
        self._constants = list[onnx.TensorProto]()
        self._inputs = list[onnx.ValueInfoProto]()
        self._outputs = list[onnx.ValueInfoProto]()

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """A float input; a dimension given by name is dynamic."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, name: str, shape: Sequence[int | str], value: str) -> None:
        """Give the value of the last node its public name."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        node = next(n for n in self._nodes if n.output[0] == value)
        node.output[0] = name

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        """A tensor that is part of the graph."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def shape(self, *sizes: int) -> str:
        """Whole numbers, as shapes and axes are given."""
        return self.constant(np.array(sizes, dtype=np.int64))

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """An operator with one output."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def dense(self, x: str, weight: Array, bias: Array) -> str:
        """x [R, I] times weight [I, O], plus bias [O]."""
        return self.node("Gemm", [x, self.constant(weight), self.constant(bias)])

    def cut(self, x: str, start: int, end: int, axis: int) -> str:
        """Elements start to end of x along an axis."""
        return self.node("Slice", [x, *(self.shape(v) for v in (start, end, axis))])

    def last_rows(self, x: str, n: int) -> str:
        """The last n rows of x [R, ...]."""
        far = np.iinfo(np.int64).max
        return self.node("Slice", [x, *(self.shape(v) for v in (-n, far, 0))])

    def model(self, name: str, metadata: Mapping[str, object]) -> onnx.ModelProto:
        """The graph, checked; the output `score` comes first. `metadata` is stored, each value as JSON."""
        outputs = sorted(self._outputs, key=lambda o: o.name != "score")
        graph = helper.make_graph(self._nodes, name, self._inputs, outputs, self._constants)
        model: onnx.ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="wakeword",
        )
        helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
        onnx.checker.check_model(model, full_check=True)
        return model
