"""Will ESPHome run this model? Its own check looks at the manifest only, and a device fails at run time.

Operators, shapes, types, scales and states of a `.tflite` are held against what the firmware registers and
hard-codes (release 2026.6); the arena is found by running it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.arena import arena_bytes
from firmware_bridge.manifest import read_manifest
from firmware_bridge.network import INPUT_SCALE, INPUT_ZERO_POINT, N_FEATURES
from firmware_bridge.tflite import IDENTIFIER, SCHEMA_VERSION, schema
from wakeword.errors import ExportError

ALLOWED = frozenset(
    (
        *("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "RESHAPE", "STRIDED_SLICE"),
        *("CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "MUL", "ADD", "MEAN", "FULLY_CONNECTED"),
        *("LOGISTIC", "QUANTIZE", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "PACK", "SPLIT_V"),
    )
)
"""What `micro_wake_word` registers."""
MAX_VARIABLES = 20
VARIABLE_ARENA = 1_024
"""Bytes for the table of variables, on the device."""
VARIABLE_ENTRY = 16
"""Bytes of that table for one variable on a 32-bit device, rounded up."""
MAX_FILE = 1 << 20
OUTPUT_SCALE = 1 / 256


@dataclass(frozen=True)
class Checked:
    """What a model was found to be."""

    stride: int
    operators: tuple[str, ...]
    """Kinds of operators in it, in alphabetical order."""
    variables: int
    state_bytes: int
    size: int
    """Of the file, in bytes."""
    arena: int | None
    """Bytes that TFLite Micro needs here; None where it does not run here."""

    def as_text(self) -> str:
        """In a few lines, for people."""
        arena = (
            "not measured: no tflite-micro for this machine"
            if self.arena is None
            else f"{self.arena:,} bytes"
        )
        return (
            f"ESPHome runs it: {self.size:,} bytes, {self.variables} states of {self.state_bytes:,} bytes, "
            f"stride {self.stride}\narena of TFLite Micro on this machine: {arena}\n"
            f"operators: {', '.join(self.operators)}"
        )


def check_path(path: Path) -> Checked:
    """Check a manifest (.json) and its model, or a model alone."""
    if path.suffix == ".json":
        return check_folder(path)
    try:
        return check_tflite(path.read_bytes())
    except OSError as err:
        raise ExportError(f"cannot read {path}: {err.strerror}") from err


def check_tflite(data: bytes) -> Checked:
    """Check a model; ExportError says the first thing that ESPHome would not take."""
    model = _parse(data)
    tf = schema()
    names = {value: name for name, value in vars(tf.BuiltinOperator).items() if not name.startswith("_")}
    codes = [names.get(max(c.builtinCode, c.deprecatedBuiltinCode), "CUSTOM") for c in model.operatorCodes]
    if unknown := sorted(set(codes) - ALLOWED):
        raise ExportError(f"ESPHome has no operator {unknown[0]}; it has {', '.join(sorted(ALLOWED))}")
    _require_whole(model, len(codes))
    main = model.subgraphs[0]
    stride = _check_ends(tf, main)
    handles, state_bytes = _variables(tf, model, codes)
    if handles > MAX_VARIABLES or handles * VARIABLE_ENTRY > VARIABLE_ARENA:
        raise ExportError(f"{handles} states; ESPHome has room for {MAX_VARIABLES}")
    return Checked(stride, tuple(sorted(set(codes))), handles, state_bytes, len(data), arena_bytes(data))


def check_folder(manifest: Path) -> Checked:
    """Check a manifest, the model it names and whether its arena is large enough."""
    entries = read_manifest(manifest)
    path = manifest.parent / entries["model"]
    try:
        data = path.read_bytes()
    except OSError as err:
        raise ExportError(f"{manifest}: its model {path.name} cannot be read: {err.strerror}") from err
    checked = check_tflite(data)
    given = entries["micro"]["tensor_arena_size"]
    if checked.arena is not None and given < checked.arena:
        raise ExportError(f"{manifest}: tensor_arena_size is {given}, the model needs {checked.arena}")
    return checked


def _parse(data: bytes) -> Any:
    if len(data) > MAX_FILE or data[4:8] != IDENTIFIER:
        raise ExportError("not a .tflite file (no TFL3 mark), or larger than 1 MB")
    tf = schema()
    try:
        model = tf.ModelT.InitFromObj(tf.Model.GetRootAsModel(bytearray(data), 0))
        subgraphs = len(model.subgraphs)
    except Exception as err:  # the generated reader follows whatever offsets a damaged file holds
        raise ExportError(f"a damaged .tflite file ({type(err).__name__}: {err})") from err
    if model.version != SCHEMA_VERSION:
        raise ExportError(f"schema version {model.version}; ESPHome reads {SCHEMA_VERSION}")
    if not subgraphs or not model.operatorCodes:
        raise ExportError("a .tflite file without operators")
    return model


def _check_ends(tf: Any, main: Any) -> int:
    """Input and output as the firmware has them; the stride."""
    if len(main.inputs) != 1 or len(main.outputs) != 1:
        raise ExportError(
            f"{len(main.inputs)} inputs and {len(main.outputs)} outputs; ESPHome takes one each"
        )
    source, target = main.tensors[main.inputs[0]], main.tensors[main.outputs[0]]
    shape = [int(n) for n in source.shape]
    if len(shape) != 3 or shape[0] != 1 or shape[2] != N_FEATURES or not 1 <= shape[1] <= 255:
        raise ExportError(f"the input is {shape}; ESPHome feeds [1, stride, {N_FEATURES}]")
    if [int(n) for n in target.shape] != [1, 1]:
        raise ExportError(f"the output is {[int(n) for n in target.shape]}; ESPHome reads [1, 1]")
    _check_tensor("input", source, tf.TensorType.INT8, "int8", INPUT_SCALE, INPUT_ZERO_POINT)
    _check_tensor("output", target, tf.TensorType.UINT8, "uint8", OUTPUT_SCALE, 0)
    return shape[1]


def _check_tensor(name: str, tensor: Any, kind: int, kind_name: str, scale: float, zero_point: int) -> None:
    if tensor.type != kind:
        raise ExportError(f"the {name} is not {kind_name}")
    scales, zeros = _list(tensor.quantization, "scale"), _list(tensor.quantization, "zeroPoint")
    if (
        len(scales) != 1
        or np.float32(scales[0]) != np.float32(scale)
        or [int(z) for z in zeros] != [zero_point]
    ):
        raise ExportError(
            f"the {name} has scale {scales} and zero point {zeros}; "
            f"the firmware hard-codes {scale:.8g} and {zero_point}"
        )


def _list(quantization: Any, name: str) -> list[Any]:
    values = None if quantization is None else getattr(quantization, name)
    return [] if values is None else list(values)


def _require_whole(model: Any, n_codes: int) -> None:
    """Every operator and tensor that is referred to is there; ExportError for a damaged file."""
    for graph in model.subgraphs:
        n_tensors = len(graph.tensors or ())
        for i, op in enumerate(graph.operators or ()):
            tensors = [int(t) for part in (op.inputs, op.outputs) if part is not None for t in part]
            if not 0 <= op.opcodeIndex < n_codes or not all(-1 <= t < n_tensors for t in tensors):
                raise ExportError(f"damaged: operator {i} refers to what the file does not hold")
        if not all(0 <= int(t) < n_tensors for part in (graph.inputs, graph.outputs) for t in part):
            raise ExportError("damaged: an input or output that the file does not hold")


def _variables(tf: Any, model: Any, codes: Sequence[str]) -> tuple[int, int]:
    """How many variables there are, and the bytes of their states."""
    names, sizes = set[bytes](), dict[Any, int]()
    for graph in model.subgraphs:
        handles = dict[int, bytes]()
        for op in graph.operators or ():
            code = codes[op.opcodeIndex]
            if code not in ("VAR_HANDLE", "ASSIGN_VARIABLE"):
                continue
            try:
                if code == "VAR_HANDLE":
                    handles[int(op.outputs[0])] = op.builtinOptions.sharedName
                    names.add(op.builtinOptions.sharedName)
                else:
                    shape = graph.tensors[op.inputs[1]].shape
                    sizes[handles.get(int(op.inputs[0]))] = math.prod(map(int, shape))
            except (AttributeError, IndexError, TypeError) as err:
                raise ExportError(f"damaged: a {code} without its name or its tensors") from err
    return len(names), sum(sizes.values())
