"""What cannot be spoken, recorded or trained on: one line that says so, the right exit code, nothing made."""

from __future__ import annotations

from pathlib import Path

import pytest

from wakeword.cli import main

WORDS = " ".join(["word"] * 60)
PHRASES = ("", " ", "a", "🎉 hey", "hey 5", "!!!", WORDS, "x" * 500)


def refused(args: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == code
    out, err = capsys.readouterr()
    assert out == "" and says in err, err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("wakeword: "), err


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("command", ["train", "synth", "record"])
def test_what_is_no_phrase(
    command: str,
    phrase: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    out = "x.wakeword" if command == "train" else "folder"
    refused([command, phrase, "--out", out], 2, "phrase", capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--language", "xx"], 1, "no voice for language 'xx'"),
        (["--engine", "nope"], 2, "no speech engine 'nope'; choose one of piper"),
        (["--n", "0"], 2, "0 is not in the range"),
        (["--n", "-3"], 2, "-3 is not in the range"),
    ],
)
def test_what_cannot_be_spoken(
    options: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["synth", "hey nova", "--out", str(tmp_path / "out"), *options], code, says, capsys)
    assert not list(tmp_path.rglob("*.wav"))


def test_no_engine_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(["synth", "hey nova", "--out", str(tmp_path / "out")], 1, "pip install 'wakeword[synth]'", capsys)
