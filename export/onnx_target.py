"""Target `onnx`: the networks as plain ONNX files, in every precision and with either input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import onnx

from export.description import ExportedFile
from export.options import Options
from export.source import STUDENT_PRECISIONS, Source, with_audio_input
from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE
from wakeword.errors import ExportError
from wakeword.manifest import Manifest


def write(source: Source, options: Options, folder: Path) -> list[ExportedFile]:
    """Write `<role>.<input>.<precision>.onnx` of everything the source allows."""
    files = []
    for role, precision, graph in _graphs(source, options):
        by_input = {"audio": with_audio_input(graph)} | ({"mel": graph} if _takes_mel(graph) else {})
        for kind, variant in sorted(by_input.items()):
            file = ExportedFile(f"{role}.{kind}.{precision}.onnx", role, kind, precision, "onnx")
            save_graph(variant, folder / file.file, source.bundle.manifest, file)
            files.append(file)
    return files


def _graphs(source: Source, options: Options) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    for precision in options.chosen(source):
        windows = options.windows(source, precision)
        yield "verifier", precision, source.verifier(precision, windows)
    for precision in STUDENT_PRECISIONS:
        if (student := source.student(precision)) is not None:
            yield "student", precision, student


def _takes_mel(graph: onnx.ModelProto) -> bool:
    return any(i.name == "mel" for i in graph.graph.input)


def save_graph(graph: onnx.ModelProto, path: Path, manifest: Manifest, file: ExportedFile) -> None:
    """Write the graph with what it is in its metadata, each value as JSON; ExportError if it is not valid."""
    facts = {
        "wakeword": manifest.wakeword_version,
        "name": manifest.name,
        "phrases": manifest.phrases,
        "role": file.role,
        "input": file.input,
        "precision": file.precision,
        "sample_rate": SAMPLE_RATE,
        "hop_samples": HOP_SAMPLES,
        "encoder": manifest.encoder,
        "licences": dict(manifest.licences),
    }
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    del copy.metadata_props[:]
    onnx.helper.set_model_props(
        copy, {key: json.dumps(value, sort_keys=True) for key, value in facts.items()}
    )
    try:
        onnx.checker.check_model(copy, full_check=True)
    except onnx.checker.ValidationError as err:
        raise ExportError(f"{path.name} is not valid ONNX: {err}") from err
    path.write_bytes(copy.SerializeToString(deterministic=True))
