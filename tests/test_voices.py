"""Enrolled voices while listening: who is named, who is left out, and who was deleted meanwhile."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import sounds

import wakeword
from wakeword import enrolment
from wakeword.audio import Samples, read_audio, write_wav
from wakeword.cli import main
from wakeword.clips.dataset import load_clips
from wakeword.decision import Detection
from wakeword.errors import DataError, UsageError, WakewordError
from wakeword.listen.actions import environment
from wakeword.listen.engine import Engine
from wakeword.listen.events import Clip, Heard
from wakeword.listen.hub import Hub
from wakeword.listen.loaded import load_model
from wakeword.listen.mqtt import message
from wakeword.listen.output import human_line
from wakeword.listen.save import describe
from wakeword.listen.settings import ModelSettings, SpeakersChoice
from wakeword.listen.voices import VOICE_S, Voices
from wakeword.speaker import SIZE, SpeakerEncoder, speakers_path

SOUND = sounds(14.0, seed=5)
FIRED = Detection("hey nova", 12.48, 0.97, 0.5)


class Signs:
    """In an encoder's place: the last sample's sign says whose voice it is. Keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Samples] = []

    def embed(self, samples: Samples) -> np.ndarray:
        self.given.append(samples)
        vector = np.zeros(SIZE, np.float32)
        vector[0 if samples[-1] >= 0 else 1] = 1
        return vector


def enroll(path: Path, name: str, sign: float) -> None:
    clips = [np.full(9, sign, dtype=np.float32)] * 3
    enrolment.enroll(path, name, clips, Signs())  # type: ignore[arg-type]


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    path = tmp_path / "tiny.wakeword"
    path.write_bytes(tiny_model.read_bytes())
    return path


def hear(model: Path, choice: SpeakersChoice) -> tuple[list[Heard], Signs]:
    encoder = Signs()
    loaded = load_model(ModelSettings(path=str(model)), Path())
    voices = Voices(model, choice, encoder)
    encoder.given.clear()
    stream = Engine(Hub(), [replace(loaded, voices=voices)]).open("test")
    return [h for at in range(0, len(SOUND), 4_001) for h in stream.feed(SOUND[at : at + 4_001])], encoder


def signs(events: list[Detection]) -> list[str]:
    ends = [round(event.time_s * 16_000) for event in events]
    return ["ada" if SOUND[end - 1] >= 0 else "unknown" for end in ends]


def test_report_names_and_accept_leaves_out(model: Path) -> None:
    expected = wakeword.load(model).feed(SOUND)
    enroll(speakers_path(model), "ada", 1.0)
    heard, encoder = hear(model, "report")
    assert [replace(h.detection, speaker=None, similarity=None) for h in heard] == expected
    assert [h.detection.speaker for h in heard] == signs(expected)
    assert {"ada", "unknown"} == set(signs(expected)), "both occur"
    for h, sound in zip(heard, encoder.given, strict=True):
        end = round(h.detection.time_s * 16_000)
        np.testing.assert_array_equal(sound, SOUND[max(0, end - int(VOICE_S * 16_000)) : end])
    accepted, _ = hear(model, "accept")
    own = [event for event, name in zip(expected, signs(expected), strict=True) if name == "ada"]
    assert [h.detection.time_s for h in accepted] == [event.time_s for event in own]
    assert [h.number for h in accepted] == list(range(1, len(own) + 1))


def test_whoever_is_deleted_or_enrolled_meanwhile_counts_from_the_next_phrase(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, sound = speakers_path(tmp_path / "a.wakeword"), np.ones(16_000, dtype=np.float32)
    with caplog.at_level(logging.WARNING):
        voices = Voices(tmp_path / "a.wakeword", "accept", Signs())
        assert voices.ask(FIRED, sound) is voices.ask(FIRED, sound) is None
    assert caplog.text.count("no one is enrolled") == 1 and "no phrase is reported" in caplog.text
    enroll(path, "ada", 1.0)
    enroll(path, "bob", -1.0)
    found = voices.ask(FIRED, sound)
    assert found == replace(FIRED, speaker="ada", similarity=1.0)
    enrolment.forget(path, "ada")
    assert voices.ask(FIRED, sound) is None and voices.ask(FIRED, -sound) is not None
    enrolment.forget(path, "bob")
    assert voices.ask(FIRED, -sound) is None
    path.write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert voices.ask(FIRED, sound) is None
    assert "enroll again" in caplog.text
    report = Voices(tmp_path / "a.wakeword", "report", Signs())
    assert report.ask(FIRED, sound) == replace(FIRED, speaker="unknown")


def test_too_little_sound_is_nobodys(tmp_path: Path) -> None:
    class Strict(Signs):
        def embed(self, samples: Samples) -> np.ndarray:
            if len(samples) < 3_200:
                raise UsageError("too short")
            return super().embed(samples)

    enroll(speakers_path(tmp_path / "a.wakeword"), "ada", 1.0)
    voices = Voices(tmp_path / "a.wakeword", "report", Strict())
    assert voices.ask(FIRED, np.ones(100, np.float32)) == replace(FIRED, speaker="unknown")


def test_every_output_says_who() -> None:
    heard = Heard(7, replace(FIRED, speaker="ada", similarity=0.712345), "tiny", "microphone", 0.0)
    assert human_line(heard) == "12.48 s  hey nova  score 0.97  by ada (0.71)"
    told = {"speaker": "ada", "similarity": 0.7123}
    assert told.items() <= heard.as_dict().items()
    assert told.items() <= message(heard).items()
    assert told.items() <= describe(Clip(heard, np.zeros(16, np.float32), 0.0)).items()
    assert environment(heard)["WAKEWORD_SPEAKER"] == "ada"
    silent = Heard(7, FIRED, "tiny", "microphone", 0.0)
    assert not {"speaker", "similarity"} & {*silent.as_dict(), *message(silent), *environment(silent)}


def test_nobody_can_be_enrolled_as_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose another"):
        enroll(tmp_path / "a.npz", "Unknown", 1.0)


def test_without_the_extra_it_ends_at_once(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path))
    monkeypatch.setattr("wakeword.speaker.ENCODER_PACKAGE", "no_such_package")
    write_wav(tmp_path / "a.wav", SOUND)
    assert main(["listen", str(model), "--file", str(tmp_path / "a.wav"), "--speakers", "accept"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(DataError, match=r"wakeword\[speaker\]"):
        wakeword.listen(model, file=tmp_path / "a.wav", speakers="report")


@pytest.fixture(scope="module")
def people(corpus: Path) -> list[list[Path]]:
    """Two people and their recordings of one word."""
    try:
        SpeakerEncoder()
    except WakewordError as err:
        pytest.skip(str(err))
    found: dict[str, list[Path]] = {}
    for clip in load_clips(corpus / "index.csv", ["computer"]):
        if clip.split == "test" and clip.source == "picovoice":
            found.setdefault(clip.group, []).append(clip.path)
    return sorted(found.values(), key=len, reverse=True)[:2]


def test_real_people_through_the_program(
    people: list[list[Path]], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Enrolled and listened to by the commands; what a network that fires at anything reports is named."""
    own, other = people
    (tmp_path / "own").mkdir()
    for i, path in enumerate(own[:5]):
        write_wav(tmp_path / "own" / f"{i}.wav", read_audio(path))
    args = ["enroll", str(model), "ada", "--clips", str(tmp_path / "own"), "--yes"]
    assert main(args) == 0
    capsys.readouterr()
    voices = Voices(model, "report")
    names = [[voices.ask(FIRED, read_audio(path)) for path in paths] for paths in (own[5:9], other[:4])]
    by = [[found.speaker for found in row if found] for row in names]
    assert by[0].count("ada") > len(by[0]) / 2 > by[1].count("ada")
    write_wav(tmp_path / "a.wav", np.concatenate([SOUND, *(read_audio(path) for path in own[5:8])]))
    args = ["listen", str(model), "--file", str(tmp_path / "a.wav"), "--json"]
    assert main([*args, "--speakers", "report"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told and all(-1 <= t["similarity"] <= 1 and t["speaker"] in ("ada", "unknown") for t in told)
    assert main([*args, "--speakers", "accept"]) == 0
    accepted = [json.loads(line)["time_s"] for line in capsys.readouterr().out.splitlines()]
    assert accepted == [t["time_s"] for t in told if t["speaker"] == "ada"]
