"""Advice about phrases: what cannot be one is refused in one line, what is a bad one is said."""

from __future__ import annotations

import shutil

import pytest

from wakeword.clips import advice
from wakeword.clips.advice import advise, near_phrases, require_speakable, syllables, word_frequency
from wakeword.clips.phonemes import phonemes
from wakeword.errors import UsageError

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def needs_words() -> None:
    pytest.importorskip("wordfreq")


@pytest.mark.parametrize(
    ("phrase", "says"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("a", "one letter"),
        ("Ä!", "one letter"),
        ("hey 5", 'number 5; spell it as it is spoken, such as "five"'),
        ("r2d2", "number 2"),
        ("hey 🚀", "holds a symbol \\(rocket\\)"),
        ("one € please", "symbol \\(euro sign\\)"),
        ("hey\x00nova", "symbol \\(u\\+0000\\)"),
        ("...", "no letters"),
        (" ".join(["word"] * 60), "60 words; at most 8"),
        ("x" * 500, "500 characters; at most 100"),
    ],
)
def test_what_cannot_be_a_phrase(phrase: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        require_speakable(phrase)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("Hey, Nova!", "hey nova"),
        ("smart_mirror", "smart mirror"),
        ("Grüß Gott", "grüß gott"),
        ("你好", "你好"),
    ],
)
def test_what_can_be_a_phrase(phrase: str, text: str) -> None:
    assert require_speakable(phrase) == text


@needs_espeak
@pytest.mark.parametrize(
    ("word", "n"), [("nova", 2), ("jarvis", 2), ("computer", 3), ("my", 1), ("alexa", 3)]
)
def test_syllables(word: str, n: int) -> None:
    assert syllables(phonemes([word])[0]) == n


def found(phrase: str, **kwargs: object) -> dict[str, str]:
    return {a.about: a.severity for a in advise(phrase, **kwargs)}  # type: ignore[arg-type]


@needs_espeak
def test_length_and_variety() -> None:
    assert found("go")["length"] == "stop"
    assert found("jarvis")["length"] == "warning"
    assert found("smart mirror")["length"] == "note"
    assert found("la la la la")["variety"] == "warning"
    assert "variety" not in found("smart mirror")
    long = advise("hey jarvis turn the lights off please")
    assert "set window_s to" in next(a.message for a in long if a.severity == "warning")
    assert not [
        a for a in advise("hey jarvis turn the lights off please", window_s=4) if a.severity != "note"
    ]


@needs_espeak
def test_the_worst_comes_first() -> None:
    order = [advice.SEVERITIES.index(a.severity) for a in advise("go")]
    assert order == sorted(order) and order[0] == 0


@needs_espeak
def test_everyday_words() -> None:
    needs_words()
    assert found("going")["commonness"] == "stop"
    assert found("computer")["commonness"] == "warning"
    assert "commonness" not in found("alexa")
    assert "commonness" not in found("hey computer")


@needs_espeak
def test_near_words() -> None:
    needs_words()
    assert "commuter" in near_phrases("computer", "en-us")
    assert "smart mary" in near_phrases("smart mirror", "en-us")
    assert "smart mirror" not in near_phrases("smart mirror", "en-us")
    assert "ghost" in near_phrases("go", "en-us")
    assert found("light")["near words"] == "warning"


@needs_espeak
def test_other_languages() -> None:
    needs_words()
    assert "heller spiegel" in near_phrases("heller spiegeln", "de") or near_phrases("hallo spiegel", "de")
    assert found("hallo spiegel", language="de")["length"] == "note"


def test_without_espeak_and_words_there_is_less_to_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "length" not in found("a phrase never asked before")


def test_frequency_of_what_no_list_knows() -> None:
    needs_words()
    assert word_frequency("go", "klingon") is None
    assert word_frequency("go", "en") == pytest.approx(1e-3, rel=0.5)
