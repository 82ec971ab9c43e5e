"""What a bundle's ONNX graph may hold, looked at before a session is made of it.

onnxruntime reads files that a graph names as external data, and runs loops for as long as a graph says. So a
bundle's graph has all weights inside, no control flow, no functions, and only operators that networks of this
package are made of. Read straight from the protobuf's bytes (onnx.proto3 of onnx/onnx): the listener does
without the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_NODES = 20_000
MAX_ELEMENTS = 1 << 31
"""In one tensor."""
DOMAINS = frozenset(("", "ai.onnx", "com.microsoft"))
_NAMES = """
    Abs Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Constant Conv Cos Div
    DequantizeLinear DynamicQuantizeLinear DynamicQuantizeMatMul Elu Equal Erf Exp Expand Flatten Floor
    Gather Gelu Gemm GlobalAveragePool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish
    Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul
    MatMulInteger MatMulIntegerToFloat Max MaxPool Min Mul Neg Not Or Pad Pow PRelu QLinearConv
    QLinearMatMul QuantizeLinear Range Reciprocal ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceSum Relu Reshape ScatterND Shape Sigmoid Sign Sin Slice Softmax Softplus Split Sqrt Squeeze Sub
    Sum Tanh Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())
"""No control flow, no random numbers, nothing that makes a large tensor of a small one (Tile, ...)."""
Field = tuple[int, int | memoryview]
"""Number and value of a protobuf field: an integer, or the bytes of what it holds."""


def check_graph(data: bytes) -> None:
    """ValueError, with the reason, for a graph that no bundle of this package would hold."""
    graphs = [_bytes(value) for number, value in _fields(memoryview(data)) if number == 7]
    if any(number in (20, 25) for number, _ in _fields(memoryview(data))):
        raise ValueError("it holds functions or training steps")
    if len(graphs) != 1:
        raise ValueError("it is not an ONNX model")
    nodes = 0
    for number, value in _fields(graphs[0]):
        if number == 1:
            nodes += 1
            _check_node(_bytes(value))
        elif number == 5:
            _check_tensor(_bytes(value))
        elif number == 15:
            raise ValueError("it holds sparse weights")
    if nodes > MAX_NODES:
        raise ValueError(f"it has {nodes} operators; {MAX_NODES} at most")


def _check_node(node: memoryview) -> None:
    operator, domain = "", ""
    for number, value in _fields(node):
        if number == 4:
            operator = bytes(_bytes(value)).decode(errors="replace")
        elif number == 7:
            domain = bytes(_bytes(value)).decode(errors="replace")
        elif number == 5:
            _check_attribute(_bytes(value))
    if domain not in DOMAINS or operator not in OPERATORS:
        raise ValueError(f"operator {operator!r} of domain {domain!r} has no place in a wake-word network")


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _fields(attribute):
        if number in (5, 10):
            _check_tensor(_bytes(value))
        elif number in (6, 11, 22, 23):
            raise ValueError("an operator holds a graph of its own or sparse weights")


def _check_tensor(tensor: memoryview) -> None:
    elements = 1
    for number, value in _fields(tensor):
        if number in (13, 14) and (number == 13 or value):
            raise ValueError("its weights lie in another file")
        if number == 1:
            for size in [value] if isinstance(value, int) else _varints(value):
                elements *= max(size, 1)
    if elements > MAX_ELEMENTS:
        raise ValueError(f"a tensor has {elements} elements")


def _fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in their order; ValueError where it is cut short or not protobuf."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("it is not an ONNX model")
        if length > end - at:
            raise ValueError("it is cut short")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it is cut short")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is not an ONNX model")


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is not an ONNX model")
    return value
