"""Background made by machine: every kind in every split, none of the words to avoid."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import read_audio
from wakeword.clips import synth_background
from wakeword.clips.augment import coloured_noise
from wakeword.clips.dataset import SPLITS, load_background, normalise_phrase
from wakeword.errors import UsageError

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@needs_espeak
def test_background_has_every_kind_in_every_split(tmp_path: Path) -> None:
    def make() -> list[Path]:
        return synth_background.synthesise_background(tmp_path, 1.5, seed=2, engines=["espeak-ng"])

    paths = make()
    clips = load_background([tmp_path / "index.csv"])
    assert len(clips) == len(paths) == 18
    for kind in ("speech", "noise", "music"):
        assert {c.split for c in clips if c.kind == kind} == set(SPLITS)
    assert sum(c.seconds for c in clips) == pytest.approx(90, rel=0.02)
    assert sum(c.seconds for c in clips if c.kind == "speech") == pytest.approx(63, rel=0.02)
    for clip in clips:
        assert -35 < 10 * np.log10(np.mean(read_audio(clip.path) ** 2)) < -8
    modified = [p.stat().st_mtime_ns for p in paths]
    assert make() == paths
    assert [p.stat().st_mtime_ns for p in paths] == modified


def test_music_is_tonal_and_noise_is_not() -> None:
    def flatness(x: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(x[:32000] * np.hanning(32000)))[400:6000] ** 2
        return float(np.exp(np.mean(np.log(power))) / np.mean(power))

    rng = np.random.default_rng(0)
    assert flatness(synth_background.music(48000, rng)) < 0.1
    assert flatness(coloured_noise(48000, rng, 0.0)) > 0.4


def test_sentences_hold_no_usual_wake_word_and_none_to_avoid() -> None:
    lines = synth_background.sentences([])
    assert len(lines) == len(set(lines)) >= 150
    words = {word for line in lines for word in normalise_phrase(line).split()}
    assert not words & {"alexa", "computer", "jarvis", "mirror", "nova"}
    kept = synth_background.sentences(["the kettle", "garden gate"])
    assert len(lines) > len(kept) > 140  # "the" forbids nothing
    assert not any(word in normalise_phrase(line).split() for line in kept for word in ("kettle", "gate"))


@pytest.mark.parametrize("language", ["de", "es"])
def test_other_languages_have_sentences(language: str) -> None:
    lines = synth_background.sentences([], language)
    assert len(lines) == len(set(lines)) >= 50
    assert not set(lines) & set(synth_background.sentences([]))


def test_strings_of_words_are_varied_and_leave_out_what_is_to_be_avoided() -> None:
    pytest.importorskip("wordfreq")
    lines = synth_background.strings_of_words(["thank you", "computer"], "en", np.random.default_rng(1))
    words = {word for line in lines for word in normalise_phrase(line).split()}
    assert len(lines) > 100 and len(words) > 900
    assert not words & {"thank", "computer"}
    assert lines == synth_background.strings_of_words(
        ["thank you", "computer"], "en", np.random.default_rng(1)
    )
    assert synth_background.strings_of_words([], "klingon", np.random.default_rng(1)) == []


def test_no_minutes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 minutes"):
        synth_background.synthesise_background(tmp_path, 0)


@needs_espeak
def test_splits_that_no_one_wants_are_not_made(tmp_path: Path) -> None:
    made = synth_background.synthesise_background(
        tmp_path, 0.2, seed=1, engines=["espeak-ng"], splits=("train", "dev")
    )
    splits = {clip.split for clip in load_background([tmp_path / "index.csv"])}
    assert splits == {"train", "dev"} and len(made) == 15
