"""Target `web`: a folder for any file server; the page in it listens to the browser's microphone."""

from __future__ import annotations

import shutil
from pathlib import Path

from export.description import ExportedFile
from export.npm import npm_package
from export.onnx_target import save_graph
from export.options import Options
from export.source import Source, with_audio_input

ORT_WEB = "onnxruntime-web", "1.30.0"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page needs of it: the part without GPU, and its WebAssembly with loader."""
PAGE = Path(__file__).with_name("web")


def write(source: Source, options: Options, folder: Path) -> list[ExportedFile]:
    """Write the page, onnxruntime-web, and the networks: audio in, int8 unless told otherwise."""
    with npm_package(*ORT_WEB, options.npm) as package:
        vendor = folder / "vendor"
        vendor.mkdir()
        for name in RUNTIME:
            shutil.copyfile(package / "dist" / name, vendor / name)
        (vendor / "LICENSE.txt").write_text(
            f"{ORT_WEB[0]} {ORT_WEB[1]}: MIT, Copyright (c) Microsoft Corporation\n", encoding="utf-8"
        )
    for asset in sorted(PAGE.iterdir()):
        shutil.copyfile(asset, folder / asset.name)
    return _networks(source, options, folder)


def _networks(source: Source, options: Options, folder: Path) -> list[ExportedFile]:
    precision = (options.precisions or ("int8",))[0]
    graphs = [("verifier", precision, source.verifier(precision, options.windows(source, precision)))]
    if (student := source.student("fp32")) is not None:
        graphs.append(("student", "fp32", student))
    files = []
    for role, kind, graph in graphs:
        file = ExportedFile(f"{role}.onnx", role, "audio", kind, "onnx")
        save_graph(with_audio_input(graph), folder / file.file, source.bundle.manifest, file)
        files.append(file)
    return files
