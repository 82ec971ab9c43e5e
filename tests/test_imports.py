"""Listening loads no torch, and imports go one way."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import sounds

from wakeword.audio import write_wav

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("wakeword", "export", "firmware_bridge")
PARTS = ("listen", "clips", "train", "evaluate")
COMMANDS = sorted((ROOT / "wakeword" / "commands").glob("*.py"))
COMPOSERS = (
    *("wakeword.cli", "wakeword.recipe", "wakeword.__main__", "wakeword.commands"),
    *(f"wakeword.commands.{path.stem}" for path in COMMANDS),
)
"""They put the parts together; nothing imports them but each other."""
SURFACE = "wakeword"
"""What a program that embeds it sees, `wakeword.listen` among it."""
MAY_IMPORT = {"train": {"clips"}, "evaluate": {"clips"}, "listen": set(), "clips": set()}
HEAVY = {"torch", "torchaudio", "onnx", "onnxscript", "safetensors", "scipy", "matplotlib"}
"""What only the `train` extra installs."""


def modules() -> dict[str, ast.Module]:
    paths = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]
    return {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            p.read_text()
        )
        for p in paths
    }


def imported(tree: ast.Module) -> set[str]:
    """Every module that a file names in an import, at its top or within a function."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return names


def part_of(module: str) -> str | None:
    """listen, clips, train or evaluate; None for the core."""
    parts = module.split(".")
    return parts[1] if parts[0] == "wakeword" and len(parts) > 1 and parts[1] in PARTS else None


def test_packages_point_one_way() -> None:
    allowed = {"wakeword": set(), "export": {"wakeword"}, "firmware_bridge": {"wakeword", "export"}}
    for module, tree in modules().items():
        package = module.partition(".")[0]
        used = {name.partition(".")[0] for name in imported(tree)} & set(PACKAGES) - {package}
        assert module in COMPOSERS or used <= allowed[package], f"{module} imports {used}"


def test_parts_of_wakeword_point_one_way() -> None:
    for module, tree in modules().items():
        if not module.startswith("wakeword") or module in (*COMPOSERS, SURFACE):
            continue
        part = part_of(module)
        used = {p for name in imported(tree) if (p := part_of(name)) and p != part}
        allowed = MAY_IMPORT[part] if part else set()
        assert used <= allowed, f"{module} imports {used}"


def test_nothing_imports_what_composes() -> None:
    for module, tree in modules().items():
        if module not in COMPOSERS:
            assert not imported(tree) & set(COMPOSERS), module


def test_only_training_and_export_name_heavy_packages() -> None:
    for module, tree in modules().items():
        used = {name.partition(".")[0] for name in imported(tree)} & HEAVY
        light = module.startswith("wakeword") and part_of(module) in (None, "listen")
        assert not (light and module not in COMPOSERS and used), f"{module} imports {used}"


def loaded_by(program: str, *args: str) -> set[str]:
    """Names of the top-level packages that a program has loaded when it ends."""
    report = "\nimport json, sys\nprint(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + report, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


FEED = """
import sys
import wakeword
from wakeword.audio import read_audio
assert wakeword.load(sys.argv[1]).feed(read_audio(sys.argv[2]))
"""
COMMAND = """
import sys
from wakeword.cli import main
assert main(sys.argv[1:]) == 0
"""


def test_import_is_light() -> None:
    assert not loaded_by("import wakeword, export, firmware_bridge") & HEAVY


def test_detecting_is_light(tiny_model: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds.wav", sounds(4.0, seed=3))
    loaded = loaded_by(FEED, str(tiny_model), str(tmp_path / "sounds.wav"))
    assert "onnxruntime" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("args", [["listen", "--help"], ["--help"], ["train", "--help"]])
def test_help_is_light(args: list[str]) -> None:
    assert not loaded_by(COMMAND, *args) & HEAVY


def test_listening_is_light(tiny_model: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds.wav", sounds(4.0, seed=3))
    assert not loaded_by(COMMAND, "listen", str(tiny_model), "--file", str(tmp_path / "sounds.wav")) & HEAVY
    assert not loaded_by(COMMAND, "info", str(tiny_model)) & HEAVY
