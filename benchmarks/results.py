"""Where benchmarks leave their figures: RESULTS.md, one section each, and JSON in benchmarks/out."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
OUT = HERE / "out"
"""Not in git."""
HEAD = "# Results\n\nEach benchmark of this folder writes its own section when it runs.\n"


def update_section(name: str, body: str, path: Path = RESULTS) -> None:
    """Put a benchmark's section [Markdown] in the place of its last one, or at the end; leave the others."""
    begin, end = f"<!-- {name} begin -->", f"<!-- {name} end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    text = path.read_text(encoding="utf-8") if path.exists() else HEAD
    if begin in text:
        before, rest = text.split(begin, 1)
        if end not in rest:
            raise ValueError(f"{path}: {begin} has no {end}; mend the file by hand")
        text = before + section + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    _write(path, text)


def write_json(name: str, figures: dict[str, Any]) -> Path:
    """Write all figures of a run to benchmarks/out/NAME.json."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    _write(path, json.dumps(figures, indent=1) + "\n")
    return path


def provenance(packages: tuple[str, ...] = ("numpy", "onnxruntime")) -> str:
    """When, where and by which command: the lines that every section begins with."""
    command = shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    versions = "".join(f", {package} {version(package)}" for package in packages)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d')}, `{command}`  \n"
        f"{processor()}, {os.cpu_count()} cores{_gpu()}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}{versions}; load average {load}"
    )


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "unknown")


def _gpu() -> str:
    """The graphics processor of a benchmark that uses torch and finds one."""
    torch = sys.modules.get("torch")
    return f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
