"""Confusables as recordings: voices apart, lists that training reads, resumable. Spoken by espeak-ng."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import read_clip, write_wav
from wakeword.clips import confusable_clips
from wakeword.clips.confusable_clips import load_confusables, synthesise_confusables
from wakeword.clips.confusables import Confusable
from wakeword.clips.dataset import load_background
from wakeword.errors import DataError, UsageError

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")

TEXTS = [
    *(
        Confusable("smart", "part", 0.4),
        Confusable("mirror", "part", 0.6),
        Confusable("smart smart", "repeat", 0.3),
    ),
    *(Confusable(f"start {word}", "near", 0.2) for word in ("mirror", "error", "nearer", "merry")),
    *(Confusable("smart mirrors everywhere", "inside", 0.0), Confusable("smarter mirrors", "inside", 0.15)),
]


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusable_clips, "confusables", lambda *_: TEXTS)


def speak(folder: Path, n: int = 8) -> list[confusable_clips.ConfusableClip]:
    return synthesise_confusables(["Smart mirror"], folder, n, seed=3, engines=["espeak-ng"])


@needs_espeak
def test_voices_and_texts_are_kept_apart(tmp_path: Path) -> None:
    made = speak(tmp_path, 16)
    counts = {split: sum(c.clip.split == split for c in made) for split in ("train", "dev", "test")}
    assert counts == {"train": 16, "dev": 4, "test": 4}
    groups = [{c.clip.group for c in made if c.clip.split == s} for s in counts]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    learnt = {c.text for c in made if c.clip.split != "test"}
    assert "start merry" not in learnt, "every fourth near phrase is for the test"
    assert "smart mirrors everywhere" not in learnt, "the phrase itself is heard in it"
    assert {c.kind for c in made} == {"part", "repeat", "near", "inside"}
    assert all(c.phrase == "smart mirror" and len(read_clip(c.clip.path)) for c in made)


@needs_espeak
def test_the_list_is_background_to_train_on(tmp_path: Path) -> None:
    made = speak(tmp_path)
    listed = load_background([tmp_path / "index.csv"])
    assert {(c.path, c.split, c.kind, c.label) for c in listed} == {
        (c.clip.path, c.clip.split, "speech", "") for c in made
    }
    assert load_confusables(tmp_path) == made
    assert [c.clip.split for c in load_confusables(tmp_path, "dev")] == ["dev", "dev"]


@needs_espeak
def test_what_is_there_is_kept_and_what_is_missing_is_made(tmp_path: Path) -> None:
    made = speak(tmp_path)
    kept, lost = made[0].clip.path, made[1].clip.path
    before = lost.read_bytes()
    write_wav(kept, np.full(8_000, 0.1, dtype=np.float32))
    mine = kept.read_bytes()
    lost.unlink()
    speak(tmp_path)
    assert kept.read_bytes() == mine and lost.read_bytes() == before


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    for name in ("tv/a.wav", "tv/deep/b.wav", "children/c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(tmp_path / name, np.full(8_000, 0.1, dtype=np.float32))
    (tmp_path / "empty").mkdir()
    found = load_confusables(tmp_path, "test")
    assert [(c.kind, c.clip.path.name) for c in found] == [
        ("children", "c.wav"),
        ("tv", "a.wav"),
        ("tv", "b.wav"),
    ]


def test_nothing_to_load_or_to_make(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recordings of confusables"):
        load_confusables(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        load_confusables(tmp_path / "none")
    with pytest.raises(UsageError, match="cannot make 2 confusable clips"):
        speak(tmp_path, 2)
