"""Two thousand mutated files, read in this process; benchmarks/fuzz.py reads a hundred thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from wakeword.errors import WakewordError

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
N = 220
SLOW = {"tflite": 20}
"""Of those that come through, the arena is found by running them."""
OTHER_SEED = 7


def test_mutated_files_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tflite_micro")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fuzz

    came = {"read": 0, "refused": 0}
    for kind in fuzz.kinds():
        path = tmp_path / f"input{kind.suffix}"
        path.write_bytes(kind.good)
        kind.read(path)
        for i in range(SLOW.get(kind.name, N)):
            path.write_bytes(fuzz.made(kind, OTHER_SEED, i))
            try:
                kind.read(path)
                came["read"] += 1
            except WakewordError as err:
                assert str(err), f"{kind.name} {i} is refused without a reason"
                came["refused"] += 1
    assert sum(came.values()) >= 2_000
    assert min(came.values()) > 100
