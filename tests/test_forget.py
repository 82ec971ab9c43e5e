"""What was kept of people: how long, and how it goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from wakeword.cli import main
from wakeword.errors import BundleError, DataError
from wakeword.evaluate.trace import load_trace
from wakeword.listen.save import Saver
from wakeword.listen.settings import SaveSettings
from wakeword.speaker import load_speakers, speakers_path

OURS = ("20261125T200949.500Z-hey_nova-1.wav", "20261125T200949.500Z-hey_nova-1.json")


def kept(folder: Path) -> None:
    for name in (*OURS, "mine.wav"):
        (folder / name).write_bytes(b"x" * 100)
    (folder / "20261125T200949.500Z-hey_nova-2.wav").symlink_to(folder / "mine.wav")


def test_saved_sound_and_voices_are_deleted_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(tmp_path)
    model = tmp_path / "a.wakeword"
    speakers_path(model).write_bytes(b"voices")
    order = ["forget", "--saved", str(tmp_path), "--voices", str(model)]
    assert main([*order, "--yes"]) == 0
    assert "deleted 3 files" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["20261125T200949.500Z-hey_nova-2.wav", "mine.wav"]
    assert main([*order, "--yes"]) == 0
    assert "nothing is kept there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("order", "code", "says"),
    [([], 2, "give --saved FOLDER or --voices MODEL"), (["--saved", "/no/such"], 1, "cannot read /no/such")],
)
def test_wrong_orders(order: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", *order]) == code
    assert says in capsys.readouterr().err


def test_without_consent_nothing_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path)
    assert main(["forget", "--saved", str(tmp_path)]) == 1  # no terminal to ask
    assert (tmp_path / OURS[0]).exists()


def test_old_files_go_by_themselves(tmp_path: Path) -> None:
    kept(tmp_path)
    long_ago = time.time() - 3 * 86_400
    for name in (OURS[0], "mine.wav"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    Saver(tmp_path, SaveSettings(folder=str(tmp_path), max_days=2.0))
    assert not (tmp_path / OURS[0]).exists()
    assert (tmp_path / OURS[1]).exists() and (tmp_path / "mine.wav").exists()


def test_small_files_that_would_fill_the_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    np.savez_compressed(bomb, scores=np.zeros(300_000_000, dtype=np.uint8), names=np.zeros(3))
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(BundleError, match="would take 300,"):
        load_speakers(bomb)
    with pytest.raises(DataError, match="not a saved trace"):
        load_trace(bomb)
