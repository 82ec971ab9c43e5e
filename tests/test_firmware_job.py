"""`wakeword firmware train` from end to end, with a small random verifier as the teacher."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import CONFIG, PHRASES, sounds, tiny_net

from firmware_bridge import train_job
from firmware_bridge.network_file import load_model
from wakeword.audio import write_wav
from wakeword.cli import main

pytest.importorskip("tflite_micro")
DEV_SECONDS = 840.0
"""A cutoff takes ten minutes of background that is not silence."""


def manifest(folder: Path) -> Path:
    """Clips of two phrases and background, a manifest of them."""
    rows = [("path", "kind", "label", "split", "group", "seconds")]

    def add(name: str, kind: str, label: str, split: str, seconds: float, seed: int) -> None:
        write_wav(folder / name, sounds(seconds, seed))
        rows.append((name, kind, label, split, name, str(seconds)))

    for i, phrase in enumerate(PHRASES):
        for n in range(6):
            split = "dev" if n > 3 else "train"
            add(f"{i}-{n}.wav", "phrase", phrase, split, 0.8, 100 + 10 * i + n)
    add("train.wav", "speech", "", "train", 40.0, 1)
    add("dev.wav", "speech", "", "dev", DEV_SECONDS, 2)
    with (folder / "all.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "all.csv"


def test_train_then_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(CONFIG, data=replace(CONFIG.data, near=0, synthetic=0))
    monkeypatch.setattr(train_job, "load_verifier", lambda model: (tiny_net(), settings))
    quick = {"epochs": 1, "batch": 8, "background": 4}
    monkeypatch.setattr(train_job, "TOGETHER", replace(train_job.TOGETHER, **quick))
    listed, bundle = str(manifest(tmp_path)), tmp_path / "my.wakeword"
    train = ["firmware", "train", str(bundle), "--clips", listed, "--background", listed]
    few = ["--versions", "1", "--negatives", "16"]
    assert main([*train, *few, "--phrase", "computer"]) == 2
    assert "it has hey nova, lights on" in capsys.readouterr().err
    assert main([*train, *few]) == 0
    said = capsys.readouterr().out
    assert "hey nova: 35,841 parameters" in said
    assert "0.5 false accepts/h: cutoff" in said
    assert "35,841 parameters" in said
    model = load_model(train_job.student_path(bundle, "lights on"))
    assert model.net.phrase == "lights on"
    assert sorted(model.points) == ["0.1", "0.5", "1", "2"]
    assert model.training["clips"] == {"train": 4, "dev": 2}
    out = tmp_path / "out"
    build = ["firmware", "build", str(bundle), "--target", "esphome", "--out", str(out)]
    assert main(build) == 2
    assert "hey_nova, lights_on; choose one" in capsys.readouterr().err
    assert main([*build, "--phrase", "lights on"]) == 0
    assert main(["firmware", "check", str(out / "lights_on.json")]) == 0
