"""What is missing is made: clips of a phrase and background; what is real is kept and weighs enough."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import sounds

from wakeword.audio import SAMPLE_RATE, write_wav
from wakeword.clips.drop import DropList
from wakeword.clips.gather import FEW, gather, read_given
from wakeword.config import DataConfig
from wakeword.errors import DataError

SMALL = DataConfig(synthetic=12, near=0, minutes=1.0)
pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all these tests, so that each voice speaks once."""
    folder = tmp_path_factory.getbasetemp() / "gather-cache"
    monkeypatch.setenv("WAKEWORD_CACHE", str(folder))
    return folder


def recordings(folder: Path, n: int) -> Path:
    for i in range(n):
        write = folder / "hey nova" / f"speaker {i}" / "a.wav"
        write.parent.mkdir(parents=True)
        write_wav(write, sounds(1.2, seed=i))
    return folder


def nothing(done: int, total: int) -> None:
    """Progress that nobody watches."""


def test_text_alone_makes_everything(cache: Path) -> None:
    made = gather(read_given(["Hey Nova"], None, []), SMALL, "en", 1, nothing)
    assert made.phrases == ("hey nova",)
    assert made.synthetic == {"hey nova"}
    for split in ("train", "dev"):
        assert made.clips[split] and all(cache in c.path.parents for c in made.clips[split])
        assert {c.kind for c in made.background[split]} == {"speech", "noise", "music"}
    voices = [{c.group for c in made.clips[split]} for split in ("train", "dev")]
    assert not voices[0] & voices[1]


def test_what_was_made_is_used_again(cache: Path) -> None:
    first = gather(read_given(["hey nova"], None, []), SMALL, "en", 1, nothing)
    times = {c.path: c.path.stat().st_mtime_ns for c in first.clips["train"]}
    again = gather(read_given(["hey nova"], None, []), SMALL, "en", 1, nothing)
    assert {c.path: c.path.stat().st_mtime_ns for c in again.clips["train"]} == times


def test_a_made_clip_that_is_silent_is_left_out(cache: Path) -> None:
    first = gather(read_given(["hey nova"], None, []), SMALL, "en", 1, nothing)
    silent = first.clips["train"][0].path
    said = silent.read_bytes()
    write_wav(silent, np.zeros(SAMPLE_RATE, dtype=np.float32))
    again = gather(read_given(["hey nova"], None, []), SMALL, "en", 1, nothing)
    silent.write_bytes(said)
    assert [c.path for c in again.clips["train"]] == [c.path for c in first.clips["train"][1:]]


def test_few_recordings_weigh_as_much_as_the_synthetic_ones(tmp_path: Path, cache: Path) -> None:
    found = gather(read_given(["hey nova"], recordings(tmp_path, 4), []), SMALL, "en", 1, nothing)
    real = [c for c in found.clips["train"] if cache not in c.path.parents]
    made = [c for c in found.clips["train"] if cache in c.path.parents]
    assert len(real) == pytest.approx(len(made), rel=0.35)
    assert all(cache in c.path.parents for c in found.clips["dev"])  # real voices are not in both
    assert real


def test_voices_join_many_recordings_in_training(tmp_path: Path, cache: Path) -> None:
    given = read_given(["hey nova"], recordings(tmp_path, FEW + 40), [])
    found = gather(given, SMALL, "en", 1, nothing)
    made = [c for c in found.clips["train"] if cache in c.path.parents]
    assert 0 < len(made) < SMALL.synthetic  # some voices are kept for dev, and left out
    assert len(found.clips["train"]) > len(made)
    assert not any(cache in c.path.parents for c in found.clips["dev"])
    assert not found.synthetic
    n = len(found.clips["train"]) - len(made)
    assert found.counts() == {
        "hey nova": {"train": n, "dev": len(found.clips["dev"]), "by machine": len(made)}
    }
    alone = gather(given, replace(SMALL, synthetic=0), "en", 1, nothing)
    assert alone.clips["dev"] == found.clips["dev"] and len(alone.clips["train"]) == n
    assert alone.counts() == {"hey nova": {"train": n, "dev": len(alone.clips["dev"])}}


def test_without_voices_the_recordings_stand_alone(tmp_path: Path, cache: Path) -> None:
    around = gather(read_given(["hey nova"], None, []), SMALL, "en", 1, nothing).background
    given = replace(
        read_given(["hey nova"], recordings(tmp_path, FEW + 40), []),
        background=tuple(around["train"] + around["dev"]),
    )
    found = gather(given, SMALL, "xx", 1, nothing)
    assert not any(cache in c.path.parents for clips in found.clips.values() for c in clips)
    assert any("no voices beside those recorded" in note for note in found.notes)


def test_dropped_recordings_are_left_out(tmp_path: Path, cache: Path) -> None:
    found = gather(read_given(["hey nova"], recordings(tmp_path, FEW + 40), []), SMALL, "en", 1, nothing)
    unwanted = {found.clips["train"][0].path.resolve(), found.background["dev"][0].path.resolve()}
    kept = found.without(DropList(frozenset(unwanted), {}))
    assert kept.clips["train"] == found.clips["train"][1:] and kept.clips["dev"] == found.clips["dev"]
    assert kept.background["dev"] == found.background["dev"][1:]


def test_a_language_without_a_voice_is_explained() -> None:
    with pytest.raises(DataError, match="no voice for language 'xx'"):
        gather(read_given(["hey nova"], None, []), SMALL, "xx", 1, nothing)
