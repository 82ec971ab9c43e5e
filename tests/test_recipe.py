"""The main job, end to end and real but small: from the text of phrases to a bundle that hears them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import wakeword
from wakeword.audio import SAMPLE_RATE, read_audio
from wakeword.cli import main

PHRASES = ("hey nova", "computer")
"""The recogniser behind the encoder knows the second alone."""
SMALL = """
[data]
synthetic = 48
near = 0
minutes = 2.0
versions = 2
negatives = 300
mining_pool = 100
mining_kept = 10
dev_versions = 1
broken = 1
[optim]
epochs = 8
[distill]
epochs = 2
"""
pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of `wakeword train "hey nova" computer`, its clips in a cache beside it."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "small.toml").write_text(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAKEWORD_CACHE", str(folder / "cache"))
        out = folder / "nova.wakeword"
        assert main(["train", *PHRASES, "--config", str(folder / "small.toml"), "--out", str(out)]) == 0
    return out


def test_hears_the_phrases_and_little_else(trained: Path) -> None:
    clips = sorted((trained.parent / "cache").glob("spoken/*/phrases/**/*.wav"))[::8]
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    detector = wakeword.load(trained, threshold=0.5, mode="verifier")
    heard = 0
    for clip in clips:
        detector.reset()
        heard += bool(detector.feed(np.concatenate([silence, read_audio(clip), silence])))
    assert heard >= 0.8 * len(clips)
    background = sorted((trained.parent / "cache").glob("spoken/*/background/*/speech/*.wav"))
    detector.reset()
    talk = np.concatenate([read_audio(path) for path in background])[: 40 * SAMPLE_RATE]
    assert len(detector.feed(talk)) <= 0.1 * len(talk) / SAMPLE_RATE


def test_bundle_says_what_it_is_made_of(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = wakeword.load(trained).manifest
    assert manifest.phrases == PHRASES
    assert manifest.training["synthetic_voices"] == sorted(PHRASES)
    assert manifest.training["recogniser"] == [PHRASES[1]]
    assert set(manifest.results) == {"dev", "verdict"}
    assert set(manifest.calibration) == {"cascade", "verifier", "student"}
    assert main(["info", str(trained)]) == 0
    assert "verdict:" in capsys.readouterr().out


def test_the_checkpoint_says_what_the_bundle_says(trained: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "onnx")
    assert main(["export", str(trained), "--target", "onnx", "--out", out, "--precision", "fp32"]) == 0
    assert main(["verify", out, "--model", str(trained)]) == 0


def test_nothing_is_left_behind(trained: Path) -> None:
    kept = {path.name for path in trained.parent.iterdir()}
    assert kept == {"cache", "nova.wakeword", "nova.checkpoint", "nova.report", "small.toml"}
