"""A student as a C library: the hand-written C, the generated model, and what each build system asks for.

    out/  src/ (all C)  CMakeLists.txt  Makefile  library.properties  library.json  idf_component.yml
          examples/  README.md  NOTICE  LICENSE-*  model.npz  ww_build.json

`ww_build.json` has the SHA-256 of every file; `read_build` refuses a folder in which one was changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import string
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wakeword
from firmware_bridge.emit_model import CModel, render_header, render_source
from firmware_bridge.network_file import FirmwareModel, load_model, save_model, slug
from firmware_bridge.qemu import C_DIR
from wakeword.errors import BundleError, UsageError

BUILD_FILE, MODEL_FILE = "ww_build.json", "model.npz"
FORMAT = 1
GENERATOR = f"wakeword {wakeword.__version__}"


@dataclass(frozen=True)
class Build:
    """A library that was written by `emit_library`, as it lies in its folder."""

    folder: Path
    c_model: CModel
    description: Mapping[str, Any]
    """What `ww_build.json` says."""

    @property
    def sources(self) -> list[Path]:
        """All its C files."""
        return sorted((self.folder / "src").glob("*.c"))


def emit_library(model: FirmwareModel, out: Path, fa_per_hour: float, command: str) -> Build:
    """Write the library to a folder, whole or not at all; it may replace one that it wrote before.

    Args:
        model: the network and where it fires.
        out: folder to make.
        fa_per_hour: which of the model's operating points.
        command: how it was made, for the heads of the generated files.

    UsageError where `out` is something else, ExportError where the network does not fit into C.
    """
    out = out.resolve()
    if out.exists() and not (out / BUILD_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already and is not a library of ours; name a new folder")
    c_model = CModel(model.net, model.point(fa_per_hour).rule, command)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as partial:
        made = Path(partial) / "library"
        _write(made, model, c_model, fa_per_hour)
        if out.exists():
            out.rename(Path(partial) / "before")
        made.rename(out)
    return read_build(out)


def read_build(folder: Path) -> Build:
    """Read a library; BundleError where it is none, or where a file was changed or is missing."""
    try:
        description = json.loads((folder / BUILD_FILE).read_text())
        files, known = dict(description["files"]), description["format"]
        fa_per_hour, command = float(description["fa_per_hour"]), str(description["command"])
    except FileNotFoundError as err:
        raise BundleError(
            f"{folder} is not a C library of ours; make one: wakeword firmware build MODEL --target c"
        ) from err
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise BundleError(f"{folder / BUILD_FILE}: damaged ({err})") from err
    if known != FORMAT:
        raise BundleError(f"{folder / BUILD_FILE}: of format {known}, this version reads {FORMAT}")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing; build the library anew")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise BundleError(f"{path} was changed since it was generated; build the library anew")
    model = load_model(folder / MODEL_FILE)
    c_model = CModel(model.net, model.point(fa_per_hour).rule, command)
    if c_model.sha256 != description["model_sha256"]:
        raise BundleError(f"{folder}: {MODEL_FILE} is not the model that the C was generated from")
    return Build(folder, c_model, description)


def check_source(build: Build) -> None:
    """Raise BundleError unless every C file is what this version would write: it is about to be run."""
    wanted = {path.name: path.read_bytes() for path in C_DIR.glob("ww*.[ch]")}
    wanted["ww_model.c"] = render_source(build.c_model).encode()
    wanted["ww_model.h"] = render_header(build.c_model).encode()
    there = {path.name: path.read_bytes() for path in (build.folder / "src").glob("*.[ch]")}
    if other := sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name)):
        what = ", ".join(other[:3])
        raise BundleError(
            f"{build.folder}: {what} is not what this version generates; build the library anew"
        )


def _write(folder: Path, model: FirmwareModel, c_model: CModel, fa_per_hour: float) -> None:
    source = folder / "src"
    source.mkdir(parents=True)
    for path in [*C_DIR.glob("ww*.c"), *C_DIR.glob("ww*.h")]:
        shutil.copyfile(path, source / path.name)
    (source / "ww_model.c").write_text(render_source(c_model))
    (source / "ww_model.h").write_text(render_header(c_model))
    for name in ("NOTICE", "LICENSE-MIT", "LICENSE-APACHE-2.0"):
        shutil.copyfile(C_DIR / name, folder / name)
    save_model(folder / MODEL_FILE, model)
    _write_project(folder, _words(c_model))
    description = {
        "format": FORMAT,
        "generator": GENERATOR,
        "command": c_model.command,
        "phrase": c_model.net.phrase,
        "fa_per_hour": fa_per_hour,
        "cutoff": c_model.rule.cutoff,
        "window": c_model.rule.window,
        "model_sha256": c_model.sha256,
        "files": _digests(folder),
    }
    (folder / BUILD_FILE).write_text(json.dumps(description, indent=2) + "\n")


def _write_project(folder: Path, words: Mapping[str, str]) -> None:
    """The files of the build systems; those with $words are filled in, code and make files are copied."""
    project = C_DIR / "project"
    for path in sorted(path for path in project.rglob("*") if path.is_file()):
        to = folder / path.relative_to(project)
        to.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        is_text = path.suffix in (".md", ".json", ".yml", ".properties")
        to.write_text(string.Template(text).substitute(words) if is_text else text)


def _words(c_model: CModel) -> dict[str, str]:
    phrase = c_model.net.phrase
    plain = "".join(c if 32 <= ord(c) < 127 else "?" for c in phrase)
    name = "wakeword_" + ("".join(c for c in slug(phrase) if c.isascii()) or c_model.sha256[:8])
    return {
        "phrase": phrase,
        "phrase_ascii": plain,
        "phrase_json": json.dumps(phrase)[1:-1],
        "name": name,
        "version": wakeword.__version__,
        "generator": GENERATOR,
        "command": c_model.command,
        "sha256": c_model.sha256,
        "parameters": f"{c_model.net.n_parameters:,}",
        "macs": f"{c_model.net.macs:,}",
    }


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder).as_posix()): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
