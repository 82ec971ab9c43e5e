"""Target `ort`: ORT format for mobile and minimal builds of onnxruntime, and the operators that one needs."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import replace
from pathlib import Path

import onnx
from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

from export.description import ExportedFile
from export.onnx_target import save_graph
from export.options import Options
from export.ort_bytes import sort_operators
from export.quantize import quiet
from export.source import Source, with_audio_input
from wakeword.errors import ExportError, UsageError

OPERATORS = "required_operators.config"
"""For `--include_ops_by_config` of an onnxruntime build."""


def write(source: Source, options: Options, folder: Path) -> list[ExportedFile]:
    """Write verifier and student with audio input as `.ort`, and the operators they use."""
    files = [
        ExportedFile(f"{role}.audio.{precision}.onnx", role, "audio", precision, "onnx")
        for role, precision in _wanted(source, options)
    ]
    for file in files:
        graph = with_audio_input(_graph(source, options, file))
        save_graph(graph, folder / file.file, source.bundle.manifest, file)
    _convert(folder)
    _forget_paths(folder / OPERATORS)
    return [_converted(folder, file) for file in files]


def _wanted(source: Source, options: Options) -> list[tuple[str, str]]:
    wanted = [("verifier", precision) for precision in options.precisions or ("int8",)]
    if ("verifier", "fp16") in wanted:
        raise UsageError("--target ort holds no fp16 (CPU kernels compute in float32); choose fp32 or int8")
    return [*wanted, ("student", "fp32")] if source.bundle.student is not None else wanted


def _graph(source: Source, options: Options, file: ExportedFile) -> onnx.ModelProto:
    if file.role == "student":
        student = source.student(file.precision)
        assert student is not None
        return student
    return source.verifier(file.precision, options.windows(source, file.precision))


def _convert(folder: Path) -> None:
    """One `.ort` beside each `.onnx`, optimised for no particular processor; the same bytes each time."""
    with quiet(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the tool leaves its files open
        try:
            convert_onnx_models_to_ort(
                folder,
                output_dir=folder,
                optimization_styles=[OptimizationStyle.Fixed],
                target_platform=None,
                save_optimized_onnx_model=False,
            )
        except Exception as err:  # onnxruntime raises its own, undocumented classes
            raise ExportError(f"onnxruntime cannot convert to ORT format ({err})") from err
    for path in folder.glob("*.ort"):
        sort_operators(path)


def _forget_paths(config: Path) -> None:
    """The list names the models by this machine's paths; their names are enough."""
    lines = config.read_text(encoding="utf-8").splitlines()
    kept = [f"# - {Path(line[4:]).name}" if line.startswith("# - ") else line for line in lines]
    config.write_text("\n".join(kept) + "\n", encoding="utf-8")


def _converted(folder: Path, file: ExportedFile) -> ExportedFile:
    (folder / file.file).unlink()
    return replace(file, file=file.file.removesuffix(".onnx") + ".ort", runtime="ort")
