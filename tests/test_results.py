"""The sections of benchmarks/RESULTS.md: each benchmark replaces its own and no other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "benchmarks" / "results.py"
spec = importlib.util.spec_from_file_location("results", SOURCE)
assert spec is not None and spec.loader is not None
results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(results)


def test_each_section_is_replaced_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    results.update_section("cost", "## Cost\n\nfirst\n", path)
    results.update_section("parity", "## Parity", path)
    text = path.read_text()
    assert text.startswith("# Results\n")
    results.update_section("cost", "## Cost\n\nsecond \\1", path)
    assert path.read_text() == text.replace("first", "second \\1")
    assert path.read_text().index("second") < path.read_text().index("## Parity")


def test_words_written_by_hand_stay(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("by hand\n")
    results.update_section("cost", "a", path)
    path.write_text(path.read_text() + "after\n")
    results.update_section("cost", "b", path)
    assert path.read_text() == "by hand\n\n<!-- cost begin -->\nb\n<!-- cost end -->\nafter\n"
    assert [p.name for p in tmp_path.iterdir()] == ["RESULTS.md"]


def test_a_section_without_an_end_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("<!-- cost begin -->\nprecious\n")
    with pytest.raises(ValueError, match="has no <!-- cost end -->"):
        results.update_section("cost", "b", path)
    assert "precious" in path.read_text()
