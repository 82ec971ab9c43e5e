"""Throwaway environments for what is tried in other versions, or in other people's packages."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from results import HERE


def find_uv() -> str:
    """The uv of this machine, or the one that scripts/test installed."""
    return shutil.which("uv") or str(HERE.parent / ".uv" / "bin" / "uv")


def throwaway(folder: Path, python: str, packages: Sequence[str]) -> Path:
    """Install packages from PyPI into an environment in `folder`, made anew; return its Python.

    RuntimeError says what cannot be installed.
    """
    environment = folder / "venv"
    run([find_uv(), "venv", "--quiet", "--clear", "--python", python, str(environment)])
    run([find_uv(), "pip", "install", "--quiet", "--python", str(environment), *packages])
    return environment / "bin" / "python"


def run(command: Sequence[str]) -> str:
    """What a command prints, away from this tree; the last line of its error as a RuntimeError."""
    done = subprocess.run(command, text=True, capture_output=True, cwd=tempfile.gettempdir())
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return done.stdout
