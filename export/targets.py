"""One command per target: a folder written whole or not at all, with a description, golden sound and card."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export import onnx_target, openwakeword_target, ort_target, web_target
from export.card import write_card
from export.description import DESCRIPTION, ExportedFile, describe_export, sha256_of, write_json
from export.options import Options
from export.source import Source, open_source
from wakeword.errors import ExportError, UsageError

Write = Callable[[Source, Options, Path], list[ExportedFile]]


@dataclass(frozen=True)
class Target:
    """Somewhere a detector can run."""

    name: str
    what: str
    write: Write


TARGETS = {
    target.name: target
    for target in (
        Target("onnx", "ONNX files for any host, audio or log-mel in", onnx_target.write),
        Target("ort", "ORT format for mobile and minimal builds of onnxruntime", ort_target.write),
        Target("web", "a page that listens in the browser", web_target.write),
        Target("openwakeword", "classifiers for openWakeWord", openwakeword_target.write),
    )
}


def export_model(
    model: Path, target: str, out: Path, checkpoint: Path | None = None, options: Options | None = None
) -> list[Path]:
    """Export a bundle into a new folder; return the files in it.

    Raises UsageError for an unknown target or a folder that is not empty, ExportError for a model that the
    target cannot hold.
    """
    if target not in TARGETS:
        raise UsageError(f"no target {target!r}; choose one of {', '.join(TARGETS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is not an empty folder; name a new one, or empty it")
    source = open_source(model, checkpoint)
    options = options or Options()
    command = f"wakeword export {model.name} --target {target} --out {out.name}"
    partial = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_folder(source, TARGETS[target], options, partial, sha256_of(model), command)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as err:
        raise ExportError(f"cannot write {out}: {err.strerror or err}") from err
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(path for path in out.rglob("*") if path.is_file())


def write_folder(
    source: Source, target: Target, options: Options, folder: Path, source_sha256: str, command: str
) -> None:
    """Everything that an export of this source holds, into an empty folder."""
    files = target.write(source, options, folder)
    manifest = source.bundle.manifest
    described = describe_export(manifest, target.name, files, folder, source_sha256)
    write_json(folder / DESCRIPTION, described)
    write_card(folder, manifest, target.name, described["files"], command)
