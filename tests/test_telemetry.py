"""Nothing is reported to anybody: onnxruntime would, from 1.29 on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Of the environment: nothing that tells onnxruntime to be quiet, or looks to it like a build server."""


def files_of(code: str, home: Path) -> list[Path]:
    """What a fresh process that runs this leaves for onnxruntime: an identifier and what is to be sent."""
    plain = {name: value for name, value in os.environ.items() if name in KEPT}
    env = {**plain, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    home.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
    return [path for path in home.rglob("*") if path.is_file() and "onnxruntime" in str(path)]


@pytest.mark.parametrize("package", ["wakeword", "export.quick_features", "firmware_bridge.train_job"])
def test_nothing_is_kept_to_be_sent(package: str, tiny_model: Path, tmp_path: Path) -> None:
    load = f"import {package}, wakeword; wakeword.load({str(tiny_model)!r})"
    assert files_of(load, tmp_path / "ours") == []


def test_onnxruntime_by_itself_would(tmp_path: Path) -> None:
    if not files_of("import onnxruntime", tmp_path):
        pytest.skip("this onnxruntime reports nothing of itself")


def test_the_users_own_choice_stands(tmp_path: Path) -> None:
    code = "import os, wakeword; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "0"
