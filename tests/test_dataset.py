"""Listing, splitting and checking of recordings; every kind of bad clip."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword.audio import read_clip
from wakeword.clips.dataset import (
    COLUMNS,
    Clip,
    check_clips,
    load_background,
    load_clips,
    normalise_phrase,
    require_clips,
)
from wakeword.errors import DataError, UsageError

RATE = 16_000


def tone(seconds: float = 1.0, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def put(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **kwargs: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone() if samples is None else samples, rate, **kwargs)
    return path


def clip_at(path: Path) -> Clip:
    return Clip(path, "phrase", "hey you", "train", path.name, 0.0, "", "", "")


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Smart_Mirror", "smart mirror"),
        ("  hey,  JARVIS! ", "hey jarvis"),
        ("what's-up", "whats up"),
        ("Grüß Gott", "grüß gott"),
        ("Gru\u0308n", "grün"),
    ],
)
def test_normalise_phrase(given: str, expected: str) -> None:
    assert normalise_phrase(given) == expected


@pytest.mark.parametrize("given", ["", "  ", "?!", "___"])
def test_phrase_without_letters(given: str) -> None:
    with pytest.raises(UsageError, match="holds no letters"):
        normalise_phrase(given)


def test_folder_names_with_spaces_underscores_and_capitals(tmp_path: Path) -> None:
    for i in range(4):
        put(tmp_path / "Smart_Mirror" / f"{i}.wav")
        put(tmp_path / "jarvis" / f"{i}.flac", tone(0.5))
    clips = load_clips(tmp_path, ["smart mirror", "Jarvis"])
    assert Counter(c.label for c in clips) == {"smart mirror": 4, "jarvis": 4}
    assert {c.seconds for c in clips if c.label == "jarvis"} == {0.5}
    assert {c.kind for c in clips} == {"phrase"}


def test_split_shares_and_that_adding_files_moves_none(tmp_path: Path) -> None:
    for i in range(300):
        (tmp_path / "hey you").mkdir(exist_ok=True)
        (tmp_path / "hey you" / f"{i}.wav").touch()
    before = {c.path: c.split for c in load_clips(tmp_path, ["hey you"])}
    shares = Counter(before.values())
    assert 180 <= shares["train"] <= 240 and 25 <= shares["dev"] <= 65 and 25 <= shares["test"] <= 65
    for i in range(300, 400):
        (tmp_path / "hey you" / f"{i}.wav").touch()
    after = {c.path: c.split for c in load_clips(tmp_path, ["hey you"])}
    assert len(after) == 400
    assert {path: after[path] for path in before} == before


def test_speakers_are_never_in_two_splits(tmp_path: Path) -> None:
    for phrase in ("hey you", "good day"):
        for speaker in range(12):
            for i in range(3):
                put(tmp_path / phrase / f"speaker{speaker}" / f"{i}.wav", tone(0.3))
    splits: dict[str, set[str]] = {}
    for c in load_clips(tmp_path, ["hey you", "good day"]):
        splits.setdefault(c.group, set()).add(c.split)
    assert len(splits) == 12
    assert all(len(s) == 1 for s in splits.values())


@pytest.mark.parametrize("n", [3, 4, 7])
def test_few_clips_still_fill_every_split(tmp_path: Path, n: int) -> None:
    for i in range(n):
        put(tmp_path / "hey you" / f"take {i}.wav", tone(0.3))
    assert {c.split for c in load_clips(tmp_path, ["hey you"])} == {"train", "dev", "test"}


def test_one_speaker_is_split_by_file(tmp_path: Path) -> None:
    for i in range(6):
        put(tmp_path / "hey you" / "me" / f"{i}.wav", tone(0.3))
    clips = load_clips(tmp_path, ["hey you"])
    assert {c.split for c in clips} == {"train", "dev", "test"}
    assert {c.group for c in clips} == {f"me/{i}.wav" for i in range(6)}


def test_manifest_keeps_given_splits_and_fills_the_empty_ones(tmp_path: Path) -> None:
    row = {"kind": "phrase", "label": "Hey You", "seconds": "1.5", "lang": "en"}
    rows = [row | {"path": f"a/{i}.wav", "split": "test", "group": "ann"} for i in range(3)]
    rows += [row | {"path": f"b/{i}.wav", "split": "", "group": "ann"} for i in range(2)]
    rows += [{"path": "n.wav", "kind": "noise", "label": "", "split": "dev"}]
    clips = load_clips(write_manifest(tmp_path / "index.csv", rows), ["hey you"])
    assert [c.path for c in clips[:1]] == [tmp_path / "a/0.wav"]
    assert {c.split for c in clips} == {"test"}  # ann was put into test, so all of ann is
    assert {(c.seconds, c.lang, c.label) for c in clips} == {(1.5, "en", "hey you")}
    (noise,) = load_background([tmp_path / "index.csv"])
    assert (noise.kind, noise.split, noise.path) == ("noise", "dev", tmp_path / "n.wav")


def test_corpus_manifest(corpus: Path) -> None:
    clips = load_clips(corpus / "index.csv", ["alexa", "smart mirror"])
    with (corpus / "index.csv").open() as stream:
        expected = Counter(
            (r["label"], r["split"])
            for r in csv.DictReader(stream)
            if r["label"] in ("alexa", "smart mirror")
        )
    assert Counter((c.label, c.split) for c in clips) == expected
    assert {c.kind for c in load_background([corpus / "index.csv"])} == {"speech", "noise", "music"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("path,kind\na.wav,speech\n", "no column label"),
        ("path,kind,label\na.wav,talk,\n", r"line 2: kind is 'talk'; choose one of phrase, speech"),
        ("path,kind,label,split\na.wav,noise,,eval\n", "line 2: split is 'eval'"),
        ("path,kind,label\na.wav,phrase,\n", "a phrase needs a label"),
        ("path,kind,label,seconds\na.wav,noise,,long\n", "seconds is 'long'"),
        ("path,kind,label\na.wav,phrase,bye\n", "no phrase 'hey you' in .*; labels there: bye"),
    ],
)
def test_broken_manifests(tmp_path: Path, rows: str, message: str) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(rows)
    with pytest.raises(DataError, match=message):
        load_clips(manifest, ["hey you"])


def test_manifest_that_is_no_text(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_bytes(b"\xff\xfe\x80path,kind")
    with pytest.raises(DataError, match="not a readable manifest"):
        load_clips(manifest, ["hey you"])


def test_missing_and_unsuitable_locations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or manifest"):
        load_clips(tmp_path / "nowhere", ["hey you"])
    with pytest.raises(DataError, match="neither a folder nor a"):
        load_clips(put(tmp_path / "a.wav"), ["hey you"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no background recordings"):
        load_background([tmp_path / "empty"])


def test_folder_without_the_phrase_lists_what_is_there(tmp_path: Path) -> None:
    put(tmp_path / "jarvis" / "0.wav")
    with pytest.raises(DataError, match=r"no folder for phrase 'hey you' in .*; folders there: jarvis"):
        load_clips(tmp_path, ["hey you"])


def test_folder_without_positives(tmp_path: Path) -> None:
    (tmp_path / "hey_you").mkdir()
    (tmp_path / "hey_you" / "notes.txt").write_text("none yet")
    with pytest.raises(DataError, match="no usable clips of 'hey you'; at least 3"):
        load_clips(tmp_path, ["hey you"])


def test_too_few_clips(tmp_path: Path) -> None:
    for i in range(2):
        put(tmp_path / "hey you" / f"{i}.wav")
    with pytest.raises(DataError, match="only 2 usable clips of 'hey you'"):
        load_clips(tmp_path, ["hey you"])


def test_two_phrases_that_are_the_same(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'Hey You' and 'hey_you!' are the same"):
        load_clips(tmp_path, ["Hey You", "hey_you!"])
    with pytest.raises(UsageError, match="no phrase given"):
        load_clips(tmp_path, [])


def test_background_kinds_come_from_folder_names(tmp_path: Path) -> None:
    for name in ("speech/a.wav", "set/Noise/b.wav", "music/deep/c.wav", "d.wav", ".hidden/e.wav"):
        put(tmp_path / name)
    kinds = {c.path.name: c.kind for c in load_background([tmp_path])}
    assert kinds == {"a.wav": "speech", "b.wav": "noise", "c.wav": "music", "d.wav": "speech"}
    assert [c.kind for c in load_background([tmp_path / "set" / "Noise"])] == ["noise"]
    assert len(load_background([tmp_path, tmp_path / "music"])) == 4  # listed twice, taken once


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("narrow.wav", 8_000, 1, {}),
        ("stereo.wav", 48_000, 2, {}),
        ("deep.wav", 16_000, 1, {"subtype": "PCM_24"}),
        ("float.wav", 44_100, 1, {"subtype": "FLOAT"}),
        ("lossless.flac", 22_050, 1, {}),
        ("lossy.mp3", 44_100, 1, {}),
        ("lossy.ogg", 48_000, 2, {"subtype": "VORBIS"}),
        ("lossy.opus", 48_000, 1, {"format": "OGG", "subtype": "OPUS"}),
    ],
)
def test_common_formats_are_read_as_the_same_tone(
    tmp_path: Path, name: str, rate: int, channels: int, options: dict[str, str]
) -> None:
    samples = np.repeat(tone(1.0, rate)[:, None], channels, axis=1)
    path = put(tmp_path / name, samples, rate, **options)
    good, bad = check_clips([clip_at(path)])
    assert (len(good), bad) == (1, [])
    heard = read_clip(path)
    assert abs(len(heard) - RATE) < 0.1 * RATE  # MP3 pads
    middle = heard[len(heard) // 2 - 4000 :][:8000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(8000)))
    assert np.argmax(spectrum) * RATE / 8000 == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.03)


def bad_clips(folder: Path) -> dict[Path, str]:
    """Each kind of unusable clip and what must be said of it."""
    broken_nan = tone()
    broken_nan[500] = np.nan
    empty_file = folder / "zero.wav"
    empty_file.touch()
    corrupt = folder / "corrupt.wav"
    corrupt.write_bytes(b"this is a letter, not a recording")
    cut = folder / "cut.flac"
    cut.write_bytes(put(folder / "whole.flac").read_bytes()[:60])
    movie = folder / "phone.m4a"
    movie.write_bytes(b"\0\0\0\x18ftypM4A ")
    return {
        folder / "missing.wav": "no such file",
        empty_file: "not a readable audio file",
        corrupt: "not a readable audio file",
        cut: "",
        movie: "not a readable audio file",
        put(folder / "nothing.wav", tone(0)): "holds no audio",
        put(folder / "short.wav", tone(0.1)): "0.10 s long",
        put(folder / "long.wav", tone(31)): "31.00 s long",
        put(folder / "silent.wav", np.zeros(RATE, np.float32)): "silent",
        put(folder / "nan.wav", broken_nan, subtype="FLOAT"): "NaN",
    }


def test_every_kind_of_bad_clip_is_named_in_one_line(tmp_path: Path) -> None:
    expected = bad_clips(tmp_path)
    fine = put(tmp_path / "fine.wav")
    good, bad = check_clips([clip_at(path) for path in [*expected, fine]])
    assert [c.path for c in good] == [fine]
    assert [r.path for r in bad] == list(expected)
    for rejected in bad:
        assert expected[rejected.path] in rejected.reason
        assert "\n" not in str(rejected)
        assert str(rejected).startswith(f"{rejected.path}: ")
        assert not rejected.reason.startswith(str(tmp_path))


def test_require_clips_after_checking(tmp_path: Path) -> None:
    paths = [put(tmp_path / "hey you" / f"{i}.wav") for i in range(2)]
    paths.append(put(tmp_path / "hey you" / "2.wav", np.zeros(RATE, np.float32)))
    good, _ = check_clips(load_clips(tmp_path, ["hey you"]))
    with pytest.raises(DataError, match="only 2 usable clips"):
        require_clips(good, ["hey you"])
