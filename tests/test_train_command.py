"""Training by command: the whole way from clips to a detector, on the first block of the real encoder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tones import SETTINGS, SOUNDS, murmur, train_order, write_recordings

import wakeword
from wakeword.audio import SAMPLE_RATE
from wakeword.cli import main
from wakeword.manifest import Mode
from wakeword.train.checkpoint import load_checkpoint
from wakeword.train.encoders import load_encoder

ROOT = Path(__file__).resolve().parents[1]
TRAINING = f"""{SETTINGS}[distill]
epochs = 15
batch = 32
learning_rate = 5e-3
averaging = 0.8
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clips/<phrase>/<speaker>/x.wav`, `background/speech` and `settings.toml`."""
    folder = tmp_path_factory.mktemp("recordings")
    write_recordings(folder)
    (folder / "settings.toml").write_text(TRAINING)
    return folder


def train_args(recordings: Path, out: Path, *more: str, tune: str = "head") -> list[str]:
    return train_order(recordings, out, "--tune", tune, *more)


@pytest.fixture(scope="module")
def model(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "sounds.wakeword"
    assert main(train_args(recordings, out)) == 0
    return out


def test_train_makes_a_detector(model: Path) -> None:
    report = model.with_suffix(".report")
    assert sorted(model.parent.iterdir()) == [model.with_suffix(".checkpoint"), report, model]
    assert "on these very recordings (dev)" in (report / "report.html").read_text()
    manifest = wakeword.load(model).manifest
    assert manifest.phrases == tuple(SOUNDS)
    assert manifest.training["policy"] == "head"
    assert set(manifest.thresholds["three beeps"]) == {"0.1", "0.5", "1", "2"}
    points = manifest.thresholds["three beeps"]
    values = [points[rate].value for rate in ("0.1", "0.5", "1", "2")]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("mode", ["cascade", "verifier"])
def test_it_detects_in_a_stream_and_not_in_background(model: Path, mode: Mode) -> None:
    detector = wakeword.load(model, threshold=0.5, mode=mode)
    stream = 0.3 * murmur(30.0, seed=999)
    starts = {4.0: "rising tone", 11.0: "three beeps", 18.0: "three beeps", 25.0: "rising tone"}
    for start_s, phrase in starts.items():
        clip = SOUNDS[phrase](1.03, 1.0)
        stream[int(start_s * SAMPLE_RATE) :][: len(clip)] += clip
    events = detector.feed(stream)
    assert [event.phrase for event in events] == list(starts.values())
    assert all(0 < event.time_s - start_s < 1.5 for event, start_s in zip(events, starts, strict=True))
    detector.reset()
    assert detector.feed(murmur(60.0, seed=555)) == []


def test_resume_without_anything_to_resume(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_args(recordings, tmp_path / "m.wakeword", "--resume")) == 1
    assert "nothing to resume" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_tune(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(train_args(recordings, tmp_path / "m.wakeword", "--tune", "top-9")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("wakeword: tune 'top-9'; choose auto")


def test_ctrl_c_leaves_a_run_to_resume(recordings: Path, tmp_path: Path) -> None:
    """The signal goes to the whole process group, workers too, as a terminal sends it."""
    out = tmp_path / "m.wakeword"
    process = subprocess.Popen(
        [sys.executable, "-m", "wakeword", *train_args(recordings, out, tune="top-1")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "m.work" / "train.npy").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out_text, err_text = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out_text == ""
    assert "Traceback" not in err_text
    assert err_text.splitlines()[-1].startswith("wakeword: interrupted")
    assert not out.exists()
    assert (tmp_path / "m.work" / "train.npy").is_file()
    assert main(train_args(recordings, out, "--resume", tune="top-1")) == 0
    assert wakeword.load(out).manifest.training["policy"] == "top-1"
    tensors, _ = load_checkpoint(out.with_suffix(".checkpoint"))
    pretrained = load_encoder("tiny.en", 1).state_dict()
    retrained = {n for n in pretrained if f"encoder.{n}" in tensors}
    assert "blocks.0.attn.query.weight" in retrained and "conv1.weight" not in retrained
    assert not torch.equal(tensors["encoder.blocks.0.mlp.0.weight"], pretrained["blocks.0.mlp.0.weight"])
