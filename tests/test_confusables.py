"""Near phrases from text: kinds, what must not be among them, other languages. By espeak-ng itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from wakeword.clips.confusables import CONFUSABLE_KINDS, SAME, Confusable, confusables
from wakeword.clips.phonemes import distances_within, phonemes
from wakeword.clips.vocabulary import vocabulary
from wakeword.errors import DataError, UsageError

pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@pytest.fixture(scope="module", autouse=True)
def few_words(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A small vocabulary (a few seconds of espeak-ng), in a cache of its own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("WAKEWORD_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr("wakeword.clips.vocabulary._words", some_words)
    vocabulary.cache_clear()
    yield
    vocabulary.cache_clear()
    patch.undo()


def some_words(language: str, size: int) -> list[str]:
    words = {
        "en": "alec lex election collection alexander alexa commuter computers computerised come commute "
        "tutor pewter start heart error mere mary matter nearer table water window "
        "service jars charges garden yesterday permutation composer controller",
        "de": "spiegel spargel igel riegel segel ziegel siegel hallo halle heller salto tisch fenster",
    }
    return words[language].split()


def of_kind(found: list[Confusable], kind: str) -> list[str]:
    return [c.text for c in found if c.kind == kind]


def test_every_kind_of_a_phrase_of_two_words() -> None:
    found = confusables("Smart Mirror")
    assert {c.kind for c in found} == set(CONFUSABLE_KINDS)
    assert {"smart", "mirror"} <= set(of_kind(found, "part"))
    assert {"mirror smart", "mart smirror"} <= set(of_kind(found, "swap"))
    assert {"smart smart", "mirror mirror"} <= set(of_kind(found, "repeat"))
    assert {"start mirror", "smart mary"} <= set(of_kind(found, "near"))
    assert any("smart mary" in text for text in of_kind(found, "inside"))


def test_every_kind_of_a_single_word() -> None:
    found = confusables("computer", 20)
    assert {"compute", "puter", "comp"} <= set(of_kind(found, "part"))
    assert "puter com" in of_kind(found, "swap")
    assert {"commuter", "come tutor"} <= set(of_kind(found, "near"))
    assert "computerised" in of_kind(found, "inside")
    assert [c.distance for c in found if c.text == "computerised"] == [0.0]


def test_neither_the_phrase_nor_what_sounds_like_it() -> None:
    texts = [c.text for c in confusables("computer", 20)]
    assert not {"computer", "computers", "come pewter"} & set(texts)
    spoken = phonemes(["computer", *(t for t in texts if t != "computerised")])
    assert distances_within(spoken[0], spoken[1:]).min() > 0.05
    assert all(c.distance >= SAME for c in confusables("computer", 20) if c.kind != "inside")


def test_other_phrases_of_the_detector_are_avoided() -> None:
    assert "smart mary" in of_kind(confusables("smart mirror"), "near")
    assert "smart mary" not in of_kind(confusables("smart mirror", avoid=["smart mary"]), "near")
    assert not [c for c in confusables("smart mirror", avoid=["mirror"]) if "mirror" in c.text.split()]


def test_same_call_same_answer_and_no_more_than_asked() -> None:
    first = confusables("alexa", 4)
    assert first == confusables("alexa", 4)
    assert max(len(of_kind(first, kind)) for kind in CONFUSABLE_KINDS) == 4
    assert len({c.text for c in first}) == len(first)


def test_german() -> None:
    found = confusables("hallo spiegel", voice="de")
    assert "hallo spargel" in of_kind(found, "near")
    assert "spiegel hallo" in of_kind(found, "swap")
    assert any(text.startswith("ich mag") for text in of_kind(found, "inside"))


@pytest.mark.parametrize(("phrase", "n", "reason"), [("a", 5, "too short"), ("alexa", 0, "at least 1")])
def test_bad_requests(phrase: str, n: int, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        confusables(phrase, n)


def test_without_wordfreq_english_has_our_sentences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    from wakeword.clips.vocabulary import _own_words

    assert "kitchen" in _own_words("en")
    with pytest.raises(DataError, match=r"language 'fi'; run: pip install 'wakeword\[synth\]'"):
        _own_words("fi")


def test_pronunciations_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path))
    vocabulary.cache_clear()
    first = vocabulary("de")
    vocabulary.cache_clear()
    monkeypatch.setattr("wakeword.clips.vocabulary.phonemes", None)
    assert vocabulary("de") == first
    assert first.words[0] == "spiegel" and first.phonemes[0] == tuple("ʃpiɡəl")
    vocabulary.cache_clear()
