"""Hard moments: found where they are, each once, in any number of processes, and after a kill -9."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_report import DECISION, PHRASES, ToneScorer, tone
from tiny import sounds

from wakeword.audio import SAMPLE_RATE, Samples, read_audio, write_wav
from wakeword.bundle import Manifest, Threshold
from wakeword.cli import main
from wakeword.clips.dataset import Clip, load_background
from wakeword.evaluate.hard_clips import choose_hardest, is_copy, sound_print, write_hard_clips
from wakeword.evaluate.mining import Ear, Moment, hear

MANIFEST = Manifest(
    name="tones", phrases=PHRASES, input="mel", window=1, decision=DECISION, default_fa_per_hour="1",
    thresholds={p: {"1": Threshold(0.9, False)} for p in PHRASES},
)  # fmt: skip
EAR = Ear("verifier", dict.fromkeys(PHRASES, 0.9), ToneScorer)


def with_tones(seconds: float, at_s: dict[float, float], seed: int) -> Samples:
    """Hiss with half a second of a tone at some times."""
    samples = (0.02 * np.random.default_rng(seed).normal(size=int(seconds * SAMPLE_RATE))).astype(np.float32)
    for start_s, hz in at_s.items():
        samples[int(start_s * SAMPLE_RATE) :][: SAMPLE_RATE // 2] = tone(hz, 0.5)
    return samples


@pytest.fixture
def recordings(tmp_path: Path) -> list[Clip]:
    folder = tmp_path / "background"
    folder.mkdir()
    write_wav(folder / "a.wav", with_tones(30, {5: 4000, 20: 2000}, 1))
    write_wav(folder / "b.wav", with_tones(20, {12: 2000}, 2))
    write_wav(folder / "c.wav", with_tones(15, {}, 3))
    return load_background([folder])


def test_moments_are_where_the_tones_are(tmp_path: Path, recordings: list[Clip]) -> None:
    heard: list[float] = []
    found = hear(MANIFEST, [EAR], recordings, tmp_path / "notes", "k", 1, heard.append)
    hard = {(m.phrase, m.path.name, round(m.at_s)) for m in found if m.hardness >= 1}
    assert hard == {("high <tone>", "a.wav", 5), ("low tone", "a.wav", 20), ("low tone", "b.wav", 12)}
    assert sum(heard) == pytest.approx(65)


def test_what_is_noted_is_not_heard_again(tmp_path: Path, recordings: list[Clip]) -> None:
    first = hear(MANIFEST, [EAR], recordings, tmp_path / "notes", "k")
    deaf = Ear("verifier", EAR.thresholds, lambda: pytest.fail("heard again"))
    assert hear(MANIFEST, [deaf], recordings, tmp_path / "notes", "k") == first
    [note] = (tmp_path / "notes").glob("*.json")
    note.write_text(note.read_text()[:40])  # as a disk that was full leaves it
    assert hear(MANIFEST, [EAR], recordings, tmp_path / "notes", "k") == first
    with pytest.raises(BaseException, match="heard again"):
        hear(MANIFEST, [deaf], recordings, tmp_path / "notes", "another model")


def test_copies_of_a_sound_have_the_same_print() -> None:
    talk = sounds(20, 5)
    pieces = [talk[at : at + 3 * SAMPLE_RATE] for at in range(0, 17 * SAMPLE_RATE, 2 * SAMPLE_RATE)]
    prints = [sound_print(piece, 100.0) for piece in pieces]
    quieter = (0.3 * pieces[0]).astype(np.float32)
    later = talk[700 : 700 + 3 * SAMPLE_RATE]
    assert is_copy(sound_print(quieter, 100.0), prints) and is_copy(sound_print(later, 100.0), prints)
    assert not any(is_copy(p, prints[:i] + prints[i + 1 :]) for i, p in enumerate(prints))


def test_each_moment_and_each_sound_once(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_wav(tmp_path / f"{name}.wav", sounds(20, seed))
    write_wav(tmp_path / "copy.wav", read_audio(tmp_path / "a.wav") * np.float32(0.5))

    def moment(score: float, name: str, at_s: float, phrase: str = "x", scorer: str = "cascade") -> Moment:
        return Moment(phrase, scorer, score, 0.5, tmp_path / f"{name}.wav", at_s)

    moments = [
        *(moment(0.9, "a", 5.0), moment(0.8, "a", 6.0), moment(0.85, "a", 5.5, "y", "student")),
        *(moment(0.7, "copy", 5.0), moment(0.6, "b", 5.0), moment(0.4, "b", 15.0), moment(0.3, "a", 15.0)),
    ]
    kept = choose_hardest(moments, 3)
    assert [(o.moment.path.stem, o.moment.at_s) for o in kept] == [("a", 5.0), ("b", 5.0), ("b", 15.0)]
    assert len(choose_hardest(moments, 1)) == 1
    np.testing.assert_array_equal(
        kept[0].audio, read_audio(tmp_path / "a.wav")[int(2.8 * SAMPLE_RATE) : int(5.8 * SAMPLE_RATE)]
    )


def test_clips_are_background_to_train_on(tmp_path: Path, recordings: list[Clip]) -> None:
    found = hear(MANIFEST, [EAR], recordings, tmp_path / "notes", "k")
    chosen = choose_hardest([m for m in found if m.hardness >= 1], 10)
    (tmp_path / "out" / "clips").mkdir(parents=True)
    write_wav(tmp_path / "out" / "clips" / "old.wav", sounds(1))
    index = write_hard_clips(tmp_path / "out", chosen, {c.path: c for c in recordings})
    listed = load_background([index])
    split = {c.path: c.split for c in recordings}
    assert [c.split for c in listed] == [split[one.moment.path] for one in chosen]
    assert all(c.kind == "speech" and len(read_audio(c.path)) > SAMPLE_RATE for c in listed)
    assert len(list((tmp_path / "out" / "clips").iterdir())) == len(chosen) == 3, "older clips are gone"


def command(model: Path, background: Path, out: Path, *more: str) -> list[str]:
    call = ["mine", str(model), "--background", str(background), "--out", str(out), "--split", "all"]
    return [*call, "--clips", "5", *more]


def rows(out: Path) -> list[list[str]]:
    with (out / "index.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_killed_and_resumed_it_ends_as_undisturbed(tiny_model: Path, tmp_path: Path) -> None:
    background = tmp_path / "background"
    background.mkdir()
    for i in range(2):
        write_wav(background / f"{i}.wav", sounds(125, i))
    out, calm = tmp_path / "out", tmp_path / "calm"
    call = command(tiny_model, background, out, "--workers", "1")
    process = subprocess.Popen([sys.executable, "-m", "wakeword", *call], stderr=subprocess.DEVNULL)
    notes = out / "heard"
    while not list(notes.glob("*.json")) and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    known = {note: note.stat().st_mtime_ns for note in notes.glob("*.json")}
    assert known and not (out / "index.csv").exists()
    assert main([*call, "--resume"]) == 0
    assert {note: note.stat().st_mtime_ns for note in known} == known, "what was heard is not heard again"
    assert main(command(tiny_model, background, calm, "--workers", "2")) == 0
    assert rows(out) == rows(calm) and len(rows(out)) > 4


def test_wrong_calls(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mine", "--out", str(tmp_path)]) == 2
    assert "give MODEL and --background, or --saved" in capsys.readouterr().err
    assert main(["mine", "--saved", str(tmp_path / "none"), "--out", str(tmp_path)]) == 1
    assert "no such folder of saved clips" in capsys.readouterr().err


def test_saved_clips_are_labelled_and_sorted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, out = tmp_path / "saved", tmp_path / "out"
    saved.mkdir()
    for i in range(4):
        stem = f"20261125T20112{i}.000Z-hey_nova-{i}"
        write_wav(saved / f"{stem}.wav", sounds(2, i))
        about = {"phrase": "hey nova", "score": 0.9, "at": f"2026-11-25T20:11:2{i}Z", "stream": "microphone"}
        (saved / f"{stem}.json").write_text(json.dumps(about | {"seconds": 2.0, "time_s": 3.0}))
    (saved / "broken.json").write_text("{")
    call = ["mine", "--saved", str(saved), "--out", str(out)]
    assert main(call) == 0
    assert "4 without a label" in capsys.readouterr().out
    lines = (out / "labels.csv").read_text().splitlines()
    assert len(lines) == 5 and lines[1].split(",")[1] == ""
    answers = ["yes", "no", "unclear", ""]
    filled = [line.replace(",,", f",{a},", 1) for line, a in zip(lines[1:], answers, strict=True)]
    (out / "labels.csv").write_text("\n".join([lines[0], *filled]) + "\n")
    assert main(call) == 0
    assert "said: 1, not said: 1, unclear: 1" in capsys.readouterr().out
    [not_said] = load_background([out / "index.csv"])
    assert not_said.path.parent.name == "not_said" and not_said.path.is_file()
    assert [p.name for p in (out / "said" / "hey_nova").iterdir()] == ["20261125T201120.000Z-hey_nova-0.wav"]
