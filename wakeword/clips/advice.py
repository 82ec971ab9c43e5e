"""Is a phrase a good wake phrase? Found from its text before anything is recorded or trained.

By espeak-ng's phonemes and the word frequencies of PyPI's `wordfreq`; where one of them is missing, what
it would have told is left out. `require_speakable` refuses what cannot be a phrase at all.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal, TypeAlias, get_args

from wakeword.clips.dataset import normalise_phrase
from wakeword.clips.phonemes import VOWELS, Phonemes, distances, distances_within, phonemes, weight
from wakeword.clips.vocabulary import vocabulary
from wakeword.errors import DataError, UsageError

Severity: TypeAlias = Literal["stop", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

MAX_WORDS = 8
MAX_CHARACTERS = 100
MIN_SOUNDS, GOOD_SOUNDS = 4, 6
GOOD_SYLLABLES = 3
PHONEME_S = 0.08
"""Length of a phoneme at an easy pace."""
MIN_VARIETY = 0.55
"""Different phonemes, of all: "la la la" has 2 of 6."""
WORDS_PER_HOUR = 9_000
"""Of unbroken talk."""
OFTEN_PER_HOUR, SOMETIMES_PER_HOUR = 5.0, 0.3
NEAR = 0.2
"""A text as near as this is taken for the phrase now and then."""
SAME = 0.08
"""One as near as this cannot be told from it."""
MAX_NEAR, SHOWN_NEAR = 20, 6
MAX_WORDS_NEAR = 3
"""Of a longer phrase one other word is no news."""
G2P_VOICES = {"en": "en-us"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Advice:
    """One thing about a phrase."""

    severity: Severity
    """"stop": training stops unless it is forced."""
    about: str
    """length, variety, commonness or near words."""
    message: str
    """What it is, and what to do."""

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"


def require_speakable(phrase: str) -> str:
    """The phrase as `normalise_phrase` writes it.

    Raises UsageError for what no one can train on: nothing, one letter, digits, emoji, more than 8 words or
    100 characters.
    """
    shown = repr(phrase if len(phrase) <= 40 else f"{phrase[:37]}...")
    if not phrase.strip():
        raise UsageError('the phrase is empty; give the words to be spoken, such as "hey nova"')
    if symbols := [
        c for c in phrase if unicodedata.category(c) in ("So", "Sm", "Sc", "Cs", "Co", "Cc", "Cn")
    ]:
        name = unicodedata.name(symbols[0], f"U+{ord(symbols[0]):04X}").lower()
        raise UsageError(f"phrase {shown} holds a symbol ({name}); write what is said in letters")
    if number := re.search(r"\d+", phrase):
        raise UsageError(
            f'phrase {shown} holds the number {number[0]}; spell it as it is spoken, such as "five"'
        )
    text = normalise_phrase(phrase)
    if sum(c.isalpha() for c in text) < 2:
        raise UsageError(f"phrase {shown} is one letter; a phrase takes at least a word of some length")
    if (n := len(text.split())) > MAX_WORDS:
        raise UsageError(
            f"phrase {shown} has {n} words; at most {MAX_WORDS} can be listened for, two or three are best"
        )
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"phrase {shown} has {len(text)} characters; at most {MAX_CHARACTERS} can be listened for"
        )
    return text


def advise(phrase: str, language: str = "en", window_s: float = 1.9) -> list[Advice]:
    """What is to be said about a phrase, the worst first.

    Args:
        phrase: What is to be listened for.
        language: Of the phrase, such as "en" or "de".
        window_s: Seconds that the detector hears at once; the phrase must fit.

    Raises UsageError as `require_speakable` does.
    """
    text = require_speakable(phrase)
    voice = G2P_VOICES.get(language, language)
    found: list[Advice] = []
    checks: tuple[Callable[[], list[Advice]], ...] = (
        partial(_by_sound, text, voice, window_s),
        partial(_by_frequency, text, language),
        partial(_near_words, text, voice, language),
    )
    for check in checks:
        try:
            found += check()
        except DataError as err:
            log.warning("phrase %r: %s", text, err)
    return sorted(found, key=lambda advice: SEVERITIES.index(advice.severity))


def syllables(sounds: Phonemes) -> int:
    """Stretches of vowels: a diphthong is one."""
    return sum(is_vowel for is_vowel, _ in groupby(sounds, key=VOWELS.__contains__))


def _by_sound(text: str, voice: str, window_s: float) -> list[Advice]:
    sounds = phonemes([text], voice)[0]
    n, beats, kinds = len(sounds), syllables(sounds), len(set(sounds))
    size = f"{n} sound{'s' * (n != 1)} in {beats} syllable{'s' * (beats != 1)}"
    found = []
    if n < MIN_SOUNDS or beats < 2:
        hint = f'; add a word, as in "hey {text}"' if " " not in text else "; add a word"
        found.append(
            Advice("stop", "length", f"{text!r} is short ({size}): much that is said sounds like it{hint}")
        )
    elif n < GOOD_SOUNDS or beats < GOOD_SYLLABLES:
        found.append(
            Advice(
                "warning", "length", f"{text!r} is rather short ({size}); three syllables or more err less"
            )
        )
    else:
        found.append(Advice("note", "length", f"{text!r} has {size}"))
    if (seconds := n * PHONEME_S) > window_s - 0.2:
        advice = f"set window_s to {seconds + 0.4:.1f} or more, or take a shorter one"
        found.append(Advice("warning", "length", f"{text!r} takes about {seconds:.1f} s to say; {advice}"))
    if kinds / max(n, 1) < MIN_VARIETY:
        found.append(
            Advice("warning", "variety", f"{text!r} repeats itself ({kinds} different sounds of {n})")
        )
    return found


def _by_frequency(text: str, language: str) -> list[Advice]:
    if " " in text:
        return []  # how often words stand together is not in a list of words
    frequency = word_frequency(text, language)
    if frequency is None:
        return []
    per_hour = frequency * WORDS_PER_HOUR
    message = (
        f"{text!r} is an everyday word, said about {per_hour:.1f} times in an hour of talk: each will fire"
    )
    if per_hour >= OFTEN_PER_HOUR:
        return [Advice("stop", "commonness", f'{message}; say "hey {text}" or take another')]
    if per_hour >= SOMETIMES_PER_HOUR:
        return [Advice("warning", "commonness", message)]
    return []


def word_frequency(word: str, language: str) -> float | None:
    """Share of a word among all that are spoken and written; None where no list tells."""
    try:
        import wordfreq
    except ModuleNotFoundError:
        return None
    try:
        return float(wordfreq.word_frequency(word, language))
    except (LookupError, ValueError):
        return None


def _near_words(text: str, voice: str, language: str) -> list[Advice]:
    near = near_phrases(text, voice) if len(text.split()) <= MAX_WORDS_NEAR else []
    if not near:
        return []
    per_hour = sum(_said_per_hour(other, language) for other in near)
    names = ", ".join(f'"{other}"' for other in near[:SHOWN_NEAR])
    often = per_hour >= SOMETIMES_PER_HOUR
    rate = f", said {per_hour:.1f} times in an hour of talk" if often else ""
    message = f"{text!r} sounds much like {names}{rate}: look for them in the report"
    return [Advice("warning" if often else "note", "near words", message)]


def near_phrases(text: str, voice: str) -> list[str]:
    """Texts that differ from a phrase in one word and sound much like it, the nearest first.

    For a phrase of one word also longer words with something in them that sounds like it.
    """
    words = text.split()
    spoken = phonemes(words, voice)
    known = vocabulary(voice)
    found: dict[str, float] = {}
    for i, (word, sounds) in enumerate(zip(words, spoken, strict=True)):
        share = weight(sounds) / max(sum(map(weight, spoken)), 1e-9)
        for other, away in zip(known.words, distances(sounds, known.spoken) * share, strict=True):
            if SAME < away <= NEAR and other != word:
                found[" ".join([*words[:i], other, *words[i + 1 :]])] = float(away)
    if len(words) == 1:
        within = distances_within(spoken[0], known.spoken)
        found |= {
            other: float(away)
            for other, away in zip(known.words, within, strict=True)
            if away <= SAME and text not in other
        }
    return sorted(found, key=lambda other: (found[other], other))[:MAX_NEAR]


def _said_per_hour(text: str, language: str) -> float:
    """How often a single word is said; that of several words in a row is not known, and small."""
    return 0.0 if " " in text else (word_frequency(text, language) or 0.0) * WORDS_PER_HOUR
