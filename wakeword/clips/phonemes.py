"""How texts sound: phonemes from espeak-ng, and how far apart two sounds or strings of them are.

espeak-ng runs as a program, not as a library, and knows some hundred languages. A phoneme here is one IPA
letter; stress, length and other marks are dropped, for no recogniser hangs on them. Distances are edit
distances whose prices follow how the sounds are made: [m] for [n] is cheap, [m] for [i] is not.
"""

from __future__ import annotations

import re
import subprocess
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wakeword.errors import DataError

Phonemes: TypeAlias = tuple[str, ...]
Array: TypeAlias = npt.NDArray[np.float64]

TIMEOUT_S = 600

VOWELS = {
    "i": (1, 0, 0),
    "ɪ": (0.85, 0.15, 0),
    "ᵻ": (0.85, 0.3, 0),
    "e": (0.67, 0, 0),
    "ɛ": (0.4, 0.1, 0),
    "æ": (0.15, 0.1, 0),
    "a": (0, 0.3, 0),
    "ɐ": (0.2, 0.5, 0),
    "ə": (0.5, 0.5, 0),
    "ɚ": (0.5, 0.55, 0.2),
    "ɜ": (0.45, 0.5, 0.1),
    "ʌ": (0.35, 0.7, 0),
    "ɑ": (0, 0.9, 0),
    "ɒ": (0, 0.9, 1),
    "ɔ": (0.35, 0.9, 1),
    "o": (0.67, 1, 1),
    "ʊ": (0.85, 0.85, 1),
    "u": (1, 1, 1),
    "y": (1, 0, 1),
    "ʏ": (0.85, 0.15, 1),
    "ø": (0.67, 0, 1),
    "œ": (0.4, 0.1, 1),
    "ɨ": (1, 0.5, 0),
    "ʉ": (1, 0.5, 1),
    "ɵ": (0.6, 0.5, 1),
    "ɯ": (1, 1, 0),
    "ɤ": (0.67, 1, 0),
    "ɘ": (0.67, 0.5, 0),
}
"""IPA letter -> (height, backness, rounding), each within [0, 1]."""
PLACES = (*("pbmɸβw", "fvʋɱ", "θð", "tdnszlɹrɾɬɮ", "ʃʒɻɖʈʂʐɳɭ", "cɟɲçʝjʎɕʑɥ", "kɡgŋxɣɰ", "qɢχʁʀɴ", "hɦʔħʕ"),)
"""Consonants from the lips to the throat."""
MANNERS = {
    "stop": "pbtdcɟkɡgqɢʔʈɖ",
    "tap": "ɾrʀ",
    "fricative": "ɸβfvθðszʃʒʂʐçʝɕʑxɣχʁhɦħʕɬɮ",
    "nasal": "mɱnɳɲŋɴ",
    "lateral": "lɭʎ",
    "glide": "ʋɹɻjɰwɥ",
}
VOICELESS = frozenset("pɸfθtsʃʈʂcçɕkxqχhʔħɬ")
KNOWN = frozenset(VOWELS).union(*PLACES)
MANNER_STEPS = {
    frozenset(pair): price
    for pair, price in (
        *((("stop", "tap"), 0.3), (("stop", "fricative"), 0.4), (("tap", "glide"), 0.2)),
        *((("tap", "lateral"), 0.3), (("lateral", "glide"), 0.3), (("fricative", "glide"), 0.6)),
    )
}
OTHER_MANNER = 0.6
TWINS = {
    frozenset(pair): 0.4 for pair in ("ij", "ɪj", "uw", "ʊw", "ɚɹ", "ɜɹ", "ɐr", "ɐɾ", "ɐɹ", "yɥ", "iʝ", "ɪʝ")
}
"""A vowel and the consonant next to it."""
WEAK = frozenset("əɐɪᵻɚhɦʔɹɾrʁj")
"""Sounds that come and go between speakers."""
WEAK_PRICE, STRONG_PRICE = 0.5, 0.8
"""Of a phoneme that is there or not."""


def phonemes(texts: Sequence[str], voice: str = "en-us") -> list[Phonemes]:
    """How a voice (a language) of espeak-ng pronounces each text: its IPA letters.

    Raises DataError where espeak-ng is missing, knows no such voice, or does not answer line by line.
    """
    return [] if not texts else [as_phonemes(line) for line in _ipa(tuple(texts), voice)]


@lru_cache(maxsize=64)
def _ipa(texts: tuple[str, ...], voice: str) -> tuple[str, ...]:
    spoken = "\n\n".join(" ".join(text.split()) for text in texts)
    command = ["espeak-ng", "-q", "--ipa", "-v", voice, "--stdin"]
    try:
        done = subprocess.run(command, input=spoken.encode(), capture_output=True, timeout=TIMEOUT_S)
    except FileNotFoundError as err:
        raise DataError("espeak-ng is not installed; run: apt-get install -y espeak-ng") from err
    except (subprocess.TimeoutExpired, OSError) as err:
        raise DataError(f"espeak-ng failed: {err}") from err
    lines = tuple(line for line in done.stdout.decode(errors="replace").splitlines() if line.strip())
    if done.returncode or len(lines) != len(texts):
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise DataError(
            f"espeak-ng gave {len(lines)} pronunciations for {len(texts)} texts with voice {voice!r}"
            + (f": {reason}" if reason else "")
        )
    return lines


def as_phonemes(ipa: str) -> Phonemes:
    """The letters of an IPA transcription, without stress, length, ties and switches of language."""
    letters = unicodedata.normalize("NFC", re.sub(r"\([a-z-]+\)", "", ipa))
    plain = (c if c in KNOWN else unicodedata.normalize("NFD", c)[0] for c in letters)
    return tuple(c for c in plain if c in KNOWN or unicodedata.category(c) in ("Ll", "Lo"))


@cache
def sound_distance(a: str, b: str) -> float:
    """How unlike two phonemes are, within [0, 1]."""
    if a == b:
        return 0.0
    if a in VOWELS and b in VOWELS:
        height, back, rounding = (abs(x - y) for x, y in zip(VOWELS[a], VOWELS[b], strict=True))
        return float(0.5 * height + 0.35 * back + 0.15 * rounding)
    places, manners = (_place(a), _place(b)), (_manner(a), _manner(b))
    if None in places or "" in manners:
        return TWINS.get(frozenset((a, b)), 1.0)
    assert places[0] is not None and places[1] is not None
    step = 0.0 if manners[0] == manners[1] else MANNER_STEPS.get(frozenset(manners), OTHER_MANNER)
    voicing = 0.15 * ((a in VOICELESS) != (b in VOICELESS))
    return min(1.0, 0.8 * abs(places[0] - places[1]) / len(PLACES) + step + voicing)


def _place(sound: str) -> int | None:
    return next((i for i, sounds in enumerate(PLACES) if sound in sounds), None)


def _manner(sound: str) -> str:
    return next((name for name, sounds in MANNERS.items() if sound in sounds), "")


def price(sound: str) -> float:
    """What it costs to leave a phoneme out, or to add it."""
    return WEAK_PRICE if sound in WEAK else STRONG_PRICE


def weight(sounds: Phonemes) -> float:
    """What it costs to leave all of them out."""
    return sum(price(sound) for sound in sounds)


class Spoken:
    """Pronunciations [W] ready to be compared with any phrase, each kept once as numbers."""

    def __init__(self, pronunciations: Sequence[Phonemes]) -> None:
        self.known = sorted({sound for sounds in pronunciations for sound in sounds} | {"ə"})
        number = {sound: i for i, sound in enumerate(self.known)}
        self.lengths = np.array([len(sounds) for sounds in pronunciations], dtype=np.int64)
        self.sounds = np.zeros((len(pronunciations), int(self.lengths.max(initial=0))), dtype=np.int64)
        """Padded with any sound [W, longest]."""
        for row, sounds in zip(self.sounds, pronunciations, strict=True):
            row[: len(sounds)] = [number[sound] for sound in sounds]
        self.prices = np.array([price(sound) for sound in self.known])
        self.weights = np.array([weight(sounds) for sounds in pronunciations])

    def __len__(self) -> int:
        return len(self.lengths)


def distances(phrase: Phonemes, others: Sequence[Phonemes] | Spoken) -> Array:
    """How unlike each of the others the phrase is: 0 sounds the same, 1 nothing in common. [len(others)]"""
    spoken = others if isinstance(others, Spoken) else Spoken(others)
    heavier = np.maximum(spoken.weights, max(weight(phrase), 1e-9))
    return np.asarray(np.minimum(_edit(phrase, spoken, within=False) / heavier, 1.0))


def distances_within(phrase: Phonemes, others: Sequence[Phonemes] | Spoken) -> Array:
    """The same, but to the part of each of the others that is most like the phrase: 0 holds it whole."""
    spoken = others if isinstance(others, Spoken) else Spoken(others)
    return np.asarray(_edit(phrase, spoken, within=True) / max(weight(phrase), 1e-9))


def distance(a: Phonemes, b: Phonemes) -> float:
    """How unlike two texts sound; see `distances`."""
    return float(distances(a, [b])[0])


def _edit(phrase: Phonemes, others: Spoken, within: bool) -> Array:
    """Weighted edit distance of the phrase to each of the others, all at once.

    `rows[j]` [W] is the price of turning the phrase's first i sounds into the first j of each other; within,
    what comes before and after the matching part is free.
    """
    longest = others.sounds.shape[1]
    added = others.prices[others.sounds]
    rows = [np.zeros(len(others))]
    for j in range(longest):
        rows.append(rows[0] if within else rows[-1] + added[:, j])
    for sound in phrase:
        left_out = price(sound)
        swapped = np.array([sound_distance(sound, other) for other in others.known])[others.sounds]
        new = [rows[0] + left_out]
        for j in range(longest):
            best = np.minimum(rows[j] + swapped[:, j], new[j] + added[:, j])
            new.append(np.minimum(best, rows[j + 1] + left_out))
        rows = new
    stacked = np.stack(rows)
    if within:
        heard = np.arange(longest + 1)[:, None] <= others.lengths
        return np.asarray(np.where(heard, stacked, np.inf).min(axis=0))
    return np.asarray(stacked[others.lengths, np.arange(len(others))])
