"""ORT format, the same bytes for the same graph.

onnxruntime writes the table of operators in the order of a hash map that is seeded anew in each process
(`KernelTypeStrResolver::SaveToOrtFormat`, 1.32). Entries are found by key, so nothing but the bytes depends
on it. Here the table is written again in the order of its keys. A flatbuffer is built from its end:

    file   header, session | table of operators | model, version
                             ^ written again      ^ stays, byte for byte
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import flatbuffers
from onnxruntime.tools.ort_format_model import ort_model_processor
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import (
    ArgTypeAndIndex,
    InferenceSession,
    KernelTypeStrArgsEntry,
    KernelTypeStrResolver,
    OpIdKernelTypeStrArgsEntry,
)

from wakeword.errors import ExportError

assert ort_model_processor  # importing it puts the generated classes where they look for each other
IDENTIFIER = b"ORTM"
ALIGNMENT = 16
"""Bytes; at least what any part of the model is aligned to."""
Operators = dict[bytes, dict[bytes, list[tuple[int, int]]]]
"""Operator -> name of a type -> (0 for an input or 1 for an output, its index)."""


def sort_operators(path: Path) -> None:
    """Rewrite an `.ort` file with its operators in order; ExportError where that changes what it says."""
    before = path.read_bytes()
    after = with_sorted_operators(before)
    if operators_of(after) != operators_of(before) or not after.endswith(_model_part(before)):
        raise ExportError(
            f"{path.name}: its operators cannot be put in order; onnxruntime writes another format now"
        )
    path.write_bytes(after)


def with_sorted_operators(data: bytes) -> bytes:
    """The same model, its table of operators in the order of its keys."""
    session, kept = _session(data), _model_part(data)
    builder = flatbuffers.Builder(0)
    builder.Bytes, builder.head, builder.minalign = bytearray(kept), 0, ALIGNMENT
    resolver = _write_operators(builder, operators_of(data))
    InferenceSession.Start(builder)
    InferenceSession.AddOrtVersion(builder, len(data) - _target(session._tab, 0))
    InferenceSession.AddModel(builder, len(data) - _target(session._tab, 1))
    InferenceSession.AddKernelTypeStrResolver(builder, resolver)
    builder.Finish(InferenceSession.End(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def operators_of(data: bytes) -> Operators:
    """The table of operators of an `.ort` file."""
    resolver = _session(data).KernelTypeStrResolver()
    entries = [resolver.OpKernelTypeStrArgs(i) for i in range(resolver.OpKernelTypeStrArgsLength())]
    return {entry.OpId(): _types_of(entry) for entry in entries}


def _types_of(entry: Any) -> dict[bytes, list[tuple[int, int]]]:
    types = [entry.KernelTypeStrArgs(i) for i in range(entry.KernelTypeStrArgsLength())]
    return {
        kind.KernelTypeStr(): [
            (arg.ArgType(), arg.Index()) for arg in (kind.Args(i) for i in range(kind.ArgsLength()))
        ]
        for kind in types
    }


def _session(data: bytes) -> Any:
    if data[4:8] != IDENTIFIER:
        raise ExportError("not a file in ORT format")
    return InferenceSession.InferenceSession.GetRootAs(bytearray(data), 0)


def _model_part(data: bytes) -> bytes:
    """From the model's own table on; a flatbuffer refers to what lies behind, so nothing in it to before."""
    model = _target(_session(data)._tab, 1)
    (back,) = struct.unpack_from("<i", data, model)  # from a table to its list of fields
    return data[min(model, model - back) :]


def _target(table: Any, field: int) -> int:
    """Position of what a field of a table refers to."""
    at = table.Offset(4 + 2 * field) + table.Pos
    return int(at + struct.unpack_from("<I", table.Bytes, at)[0])


def _write_operators(builder: Any, operators: Operators) -> int:
    entries = []
    for operator, types in sorted(operators.items()):
        kinds = _vector(builder, [_write_type(builder, name, args) for name, args in sorted(types.items())])
        name = builder.CreateSharedString(operator.decode())
        OpIdKernelTypeStrArgsEntry.Start(builder)
        OpIdKernelTypeStrArgsEntry.AddOpId(builder, name)
        OpIdKernelTypeStrArgsEntry.AddKernelTypeStrArgs(builder, kinds)
        entries.append(OpIdKernelTypeStrArgsEntry.End(builder))
    table = _vector(builder, entries)
    KernelTypeStrResolver.Start(builder)
    KernelTypeStrResolver.AddOpKernelTypeStrArgs(builder, table)
    return int(KernelTypeStrResolver.End(builder))


def _write_type(builder: Any, name: bytes, args: list[tuple[int, int]]) -> int:
    written = []
    for kind, index in args:
        ArgTypeAndIndex.Start(builder)
        ArgTypeAndIndex.AddArgType(builder, kind)
        ArgTypeAndIndex.AddIndex(builder, index)
        written.append(ArgTypeAndIndex.End(builder))
    vector, text = _vector(builder, written), builder.CreateSharedString(name.decode())
    KernelTypeStrArgsEntry.Start(builder)
    KernelTypeStrArgsEntry.AddKernelTypeStr(builder, text)
    KernelTypeStrArgsEntry.AddArgs(builder, vector)
    return int(KernelTypeStrArgsEntry.End(builder))


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
