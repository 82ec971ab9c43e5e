"""A quantised network as a streaming int8 `.tflite`, in the layout that ESPHome's `micro_wake_word` runs.

    subgraph 0   CALL_ONCE (subgraph 1)
                 features [1, stride, 40] -> RESHAPE
                 for each convolution with a state:
                     READ_VARIABLE, CONCATENATION with the new rows -> CONV_2D or DEPTHWISE_CONV_2D
                                    `-> STRIDED_SLICE of the newest -> ASSIGN_VARIABLE
                 for each block: ADD
                 RESHAPE, FULLY_CONNECTED, LOGISTIC, QUANTIZE -> uint8 [1, 1]
    subgraph 1   ASSIGN_VARIABLE of the zero point to every state

Written straight as a flatbuffer with the schema that runtimes ship; no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.network import N_FEATURES, Add, Conv, Quantisation, QuantisedNet
from wakeword.errors import ExportError

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16
"""Bytes; kernels read constants where they lie, some in vectors of this width."""
POSTERIOR = Quantisation(1 / 256, 0)
SCHEMAS = (
    "tflite_micro.tensorflow.lite.micro.python.schema_py_generated",
    "ai_edge_litert.schema_py_generated",
)


def schema() -> Any:
    """The generated classes of the .tflite format, from whichever runtime is installed.

    Raises ExportError where none is: they come with the `firmware` extra.
    """
    for name in SCHEMAS:
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise ExportError(
        ".tflite files need tflite-micro or ai-edge-litert; run: pip install 'wakeword[firmware]'"
    )


def write_tflite(net: QuantisedNet) -> bytes:
    """The network as the bytes of a `.tflite`. The same network gives the same bytes."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(_Model(net).pack().Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _Buffer:
    """A constant, aligned; what `Model.Pack` calls for each of its buffers."""

    def __init__(self, tf: Any, data: bytes) -> None:
        self.tf, self.data = tf, data

    def Pack(self, builder: Any) -> int:  # noqa: N802  the schema's name
        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        self.tf.BufferStart(builder)
        if vector is not None:
            self.tf.BufferAddData(builder, vector)
        return int(self.tf.BufferEnd(builder))


class _Quantization:
    """Scales and zero points; what `Tensor.Pack` calls. Equal vectors are stored once: they are long."""

    def __init__(self, model: _Model, scales: npt.NDArray[np.float32], zero_point: int, axis: int) -> None:
        self.model, self.axis = model, axis
        self.scales, self.zeros = scales, np.full(len(scales), zero_point, dtype="<i8")

    def Pack(self, builder: Any) -> int:  # noqa: N802  the schema's name
        tf, vectors = self.model.tf, self.model.vectors
        for values in (self.scales, self.zeros):
            if values.tobytes() not in vectors:
                vectors[values.tobytes()] = builder.CreateNumpyVector(values)
        tf.QuantizationParametersStart(builder)
        tf.QuantizationParametersAddScale(builder, vectors[self.scales.tobytes()])
        tf.QuantizationParametersAddZeroPoint(builder, vectors[self.zeros.tobytes()])
        tf.QuantizationParametersAddQuantizedDimension(builder, self.axis)
        return int(tf.QuantizationParametersEnd(builder))


class _Graph:
    """A subgraph in the making; tensors are known by their number."""

    def __init__(self, model: _Model, name: str) -> None:
        self.model, self.tf = model, model.tf
        self.sub = self.tf.SubGraphT()
        self.sub.name, self.sub.tensors, self.sub.operators = name, [], []
        self.sub.inputs, self.sub.outputs = [], []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str = "INT8",
        scales: npt.ArrayLike | None = None,
        zero_point: int = 0,
        axis: int = 0,
        data: npt.NDArray[Any] | None = None,
    ) -> int:
        """Add a tensor; with `data` it is a constant."""
        tensor = self.tf.TensorT()
        tensor.name, tensor.shape, tensor.type = (
            name,
            [int(n) for n in shape],
            getattr(self.tf.TensorType, kind),
        )
        tensor.buffer = 0 if data is None else self.model.buffer(data.tobytes())
        if scales is not None:
            values = np.atleast_1d(np.asarray(scales, dtype="<f4"))
            tensor.quantization = _Quantization(self.model, values, zero_point, axis)
        self.sub.tensors.append(tensor)
        return len(self.sub.tensors) - 1

    def rows(self, name: str, n: int, channels: int, q: Quantisation) -> int:
        """Add activations: n rows of so many channels."""
        return self.tensor(name, (1, n, 1, channels), scales=q.scale, zero_point=q.zero_point)

    def numbers(self, name: str, values: Sequence[int]) -> int:
        """Add a constant int32 vector."""
        return self.tensor(name, (len(values),), "INT32", data=np.asarray(values, dtype="<i4"))

    def op(self, code: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> None:
        """Add an operator with the options of its kind."""
        operator = self.tf.OperatorT()
        operator.opcodeIndex = self.model.opcode(code)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        name = OPTIONS.get(code)
        if name is not None:
            operator.builtinOptionsType = getattr(self.tf.BuiltinOptions, name)
            operator.builtinOptions = getattr(self.tf, f"{name}T")()
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        self.sub.operators.append(operator)

    def handle(self, i: int) -> int:
        """Add the handle of variable i."""
        tensor = self.tensor(f"state_{i}_handle", (), "RESOURCE")
        self.op("VAR_HANDLE", [], [tensor], container="", sharedName=f"state_{i}")
        return tensor


OPTIONS = {
    "CALL_ONCE": "CallOnceOptions",
    "VAR_HANDLE": "VarHandleOptions",
    "READ_VARIABLE": "ReadVariableOptions",
    "ASSIGN_VARIABLE": "AssignVariableOptions",
    "CONCATENATION": "ConcatenationOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "RESHAPE": "ReshapeOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "ADD": "AddOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "QUANTIZE": "QuantizeOptions",
}
"""The options of each operator; LOGISTIC has none."""


class _Model:
    """The whole file in the making."""

    def __init__(self, net: QuantisedNet) -> None:
        self.net, self.tf = net, schema()
        self._buffers, self._codes = [b""], list[str]()
        self._states = list[Conv]()
        self.vectors = dict[bytes, int]()
        """Where vectors of numbers lie that are already written."""

    def buffer(self, data: bytes) -> int:
        """Number of a constant; equal ones are stored once."""
        if data not in self._buffers:
            self._buffers.append(data)
        return self._buffers.index(data)

    def opcode(self, code: str) -> int:
        """Number of an operator's kind."""
        if code not in self._codes:
            self._codes.append(code)
        return self._codes.index(code)

    def pack(self) -> Any:
        """The model as the schema's objects."""
        main = self._main()
        start = self._start()
        model = self.tf.ModelT()
        model.version, model.description = SCHEMA_VERSION, f"wakeword: {self.net.phrase}"
        model.subgraphs = [main.sub, start.sub]
        model.operatorCodes = [self._operator_code(code) for code in self._codes]
        model.buffers = [_Buffer(self.tf, data) for data in self._buffers]
        return model

    def _operator_code(self, name: str) -> Any:
        code = self.tf.OperatorCodeT()
        code.builtinCode = getattr(self.tf.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        return code

    def _main(self) -> _Graph:
        graph, net = _Graph(self, "main"), self.net
        graph.op("CALL_ONCE", [], [], initSubgraphIndex=1)
        shape = (1, net.stride, N_FEATURES)
        features = graph.tensor("features", shape, scales=net.input.scale, zero_point=net.input.zero_point)
        x = self._conv(graph, net.stem, _reshape(graph, features, (1, net.stride, 1, N_FEATURES), net.input))
        for block in net.blocks:
            y = x
            for conv in block.convs:
                y = self._conv(graph, conv, y)
            x = _add(graph, block.add, x, y, net.stem.n_out)
        graph.sub.inputs, graph.sub.outputs = [features], [_posterior(graph, net.output, x)]
        return graph

    def _conv(self, graph: _Graph, conv: Conv, x: int) -> int:
        if conv.state_rows:
            x = self._remember(graph, conv, x)
        made = graph.rows(f"conv_{len(graph.sub.operators)}", 1, conv.n_out, conv.output)
        relu = self.tf.ActivationFunctionType.RELU if conv.relu else self.tf.ActivationFunctionType.NONE
        options = {
            "padding": self.tf.Padding.VALID,
            "strideW": 1,
            "strideH": 1,
            "dilationWFactor": 1,
            "dilationHFactor": conv.dilation,
            "fusedActivationFunction": relu,
        }
        if conv.kind == "depthwise":
            shape, axis, code = (1, conv.taps, 1, conv.n_out), 3, "DEPTHWISE_CONV_2D"
            options["depthMultiplier"] = 1
        else:
            shape, axis, code = (conv.n_out, conv.taps, 1, conv.n_in), 0, "CONV_2D"
        graph.op(code, [x, *_weights(graph, conv, shape, axis)], [made], **options)
        return made

    def _remember(self, graph: _Graph, conv: Conv, x: int) -> int:
        """All rows under a convolution: its state and the new ones; the newest become the state."""
        i, n, channels = len(self._states), conv.state_rows, conv.n_in
        self._states.append(conv)
        handle = graph.handle(i)
        state = graph.rows(f"state_{i}", n, channels, conv.input)
        seen = graph.rows(f"seen_{i}", conv.rows, channels, conv.input)
        newest = graph.rows(f"new_state_{i}", n, channels, conv.input)
        graph.op("READ_VARIABLE", [handle], [state])
        none = self.tf.ActivationFunctionType.NONE
        graph.op("CONCATENATION", [state, x], [seen], axis=1, fusedActivationFunction=none)
        begin = graph.numbers(f"begin_{i}", (0, conv.stride, 0, 0))
        end = graph.numbers(f"end_{i}", (1, conv.rows, 1, channels))
        ones = graph.numbers(f"ones_{i}", (1, 1, 1, 1))
        graph.op("STRIDED_SLICE", [seen, begin, end, ones], [newest])
        graph.op("ASSIGN_VARIABLE", [handle, newest], [])
        return seen

    def _start(self) -> _Graph:
        graph = _Graph(self, "start")
        for i, conv in enumerate(self._states):
            shape = (1, conv.state_rows, 1, conv.n_in)
            zero = np.full(shape, conv.input.zero_point, dtype=np.int8)
            q = conv.input
            start = graph.tensor(f"start_{i}", shape, scales=q.scale, zero_point=q.zero_point, data=zero)
            graph.op("ASSIGN_VARIABLE", [graph.handle(i), start], [])
        return graph


def _weights(graph: _Graph, conv: Conv, shape: Sequence[int], axis: int) -> tuple[int, int]:
    n = len(graph.sub.operators)
    weights = graph.tensor(f"weights_{n}", shape, scales=conv.weight_scales, axis=axis, data=conv.weights)
    scales = np.float32(conv.input.scale) * conv.weight_scales
    bias = graph.tensor(f"bias_{n}", (conv.n_out,), "INT32", scales=scales, data=conv.bias.astype("<i4"))
    return weights, bias


def _reshape(graph: _Graph, x: int, shape: Sequence[int], q: Quantisation) -> int:
    made = graph.tensor(f"reshaped_{x}", shape, scales=q.scale, zero_point=q.zero_point)
    graph.op("RESHAPE", [x, graph.numbers(f"shape_{x}", shape)], [made], newShape=list(shape))
    return made


def _add(graph: _Graph, add: Add, a: int, b: int, channels: int) -> int:
    made = graph.rows(f"sum_{len(graph.sub.operators)}", 1, channels, add.output)
    graph.op("ADD", [a, b], [made], fusedActivationFunction=graph.tf.ActivationFunctionType.NONE)
    return made


def _posterior(graph: _Graph, conv: Conv, x: int) -> int:
    flat = _reshape(graph, x, (1, conv.n_in), conv.input)
    weights, bias = _weights(graph, conv, (1, conv.n_in), 0)
    logit = graph.tensor("logit", (1, 1), scales=conv.output.scale, zero_point=conv.output.zero_point)
    none = graph.tf.ActivationFunctionType.NONE
    graph.op("FULLY_CONNECTED", [flat, weights, bias], [logit], fusedActivationFunction=none, weightsFormat=0)
    sigmoid = graph.tensor("sigmoid", (1, 1), scales=POSTERIOR.scale, zero_point=-128)
    graph.op("LOGISTIC", [logit], [sigmoid])
    posterior = graph.tensor(
        "posterior", (1, 1), "UINT8", scales=POSTERIOR.scale, zero_point=POSTERIOR.zero_point
    )
    graph.op("QUANTIZE", [sigmoid], [posterior])
    return posterior
