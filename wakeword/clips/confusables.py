"""Phrases that a detector might take for its own: near ones, parts, repeats, swaps, longer words.

From the text alone, by how it sounds (`wakeword.clips.phonemes`), in any language that espeak-ng speaks.
Deterministic. What would sound like the phrase itself (homophones, and texts that hold it) is left out.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise, permutations, zip_longest
from typing import Literal, TypeAlias, get_args

import numpy as np

from wakeword.clips.dataset import normalise_phrase
from wakeword.clips.phonemes import Phonemes, Spoken, distances, distances_within, phonemes
from wakeword.clips.vocabulary import vocabulary
from wakeword.errors import UsageError

ConfusableKind: TypeAlias = Literal["part", "repeat", "swap", "near", "inside"]
CONFUSABLE_KINDS: tuple[ConfusableKind, ...] = get_args(ConfusableKind)

SAME = 0.08
"""Nearer than this it is the phrase: "come pewter" for "computer"."""
HELD = 0.1
"""A text whose part is as near as this holds the phrase."""
PAIR_SAME = 0.12
"""Two words said together are the phrase from a little farther on: "alec sir" for "alexa"."""
FAR = 0.45
"""Farther than this nobody takes it for the phrase."""
LIKE = 0.3
"""A longer word whose part is as near as this belongs to `inside`."""
FRAGMENT_FIT = 0.2
"""How far a piece of the spelling may sound from the same piece of the phrase."""
MIN_SOUNDS = 2
MAX_ORDERS = 24
PIECES = 6
"""Nearest words tried for each piece of a phrase."""

CARRIERS = {
    "en": (
        *("i like the {} very much", "the {} is over there", "he said {} and left"),
        *("we bought a new {} today", "{} was not what i meant", "they call it {} at home"),
    ),
    "de": (
        *("ich mag {} sehr gern", "das ist {} von gestern", "er sagte {} und ging"),
        *("wir haben heute {} gesehen", "{} war nicht gemeint", "zu hause heißt es {}"),
    ),
    "es": (
        *("me gusta {} mucho", "esto es {} de ayer", "dijo {} y se fue"),
        *("hoy hemos visto {} aquí", "{} no era lo que quería", "en casa lo llaman {}"),
    ),
    "fr": ("j'aime bien {} ici", "il a dit {} en partant", "on appelle ça {} chez nous"),
    "it": ("mi piace {} molto", "ha detto {} ed è uscito", "a casa lo chiamano {}"),
    "nl": ("ik vind {} heel mooi", "hij zei {} en ging weg", "thuis noemen we het {}"),
    "pt": ("eu gosto de {} aqui", "ele disse {} e saiu", "em casa chamam isso {}"),
}
"""Sentences around a near phrase; in other languages there are none."""


@dataclass(frozen=True)
class Confusable:
    """A text that must not be taken for a phrase."""

    text: str
    kind: ConfusableKind
    distance: float
    """0 sounds like the phrase, 1 nothing like it. For `inside`, of the part that is most like it: 0 means
    that the phrase is heard within ("computerised"), before anyone can know that the word goes on."""


def confusables(
    phrase: str,
    n: int = 12,
    voice: str = "en-us",
    avoid: Sequence[str] = (),
    kinds: Sequence[ConfusableKind] = CONFUSABLE_KINDS,
) -> list[Confusable]:
    """Texts that sound somewhat like a phrase, of each kind up to n, the nearest first.

    Args:
        phrase: What the detector listens for.
        n: Most of each kind; short phrases have fewer.
        voice: An espeak-ng voice, which says the language: "en-us", "de", "es".
        avoid: Other phrases that are to be detected; nothing that holds one is returned.
        kinds: Which kinds.

    Raises DataError where espeak-ng or the language's word list is missing, UsageError for a bad phrase.
    """
    if n < 1:
        raise UsageError(f"cannot make {n} confusables of a kind; give at least 1")
    maker = _Maker(normalise_phrase(phrase), voice, [normalise_phrase(other) for other in avoid])
    seen, found = {maker.phrase}, list[Confusable]()
    for kind in kinds:
        found += [c for c in maker.of_kind(kind, n) if c.text not in seen]
        seen |= {c.text for c in found}
    return found


def _best(candidates: Iterable[Confusable], n: int, spread: bool = False) -> list[Confusable]:
    """The n nearest, or n that are spread evenly from the nearest to the farthest."""
    ordered = sorted(candidates, key=lambda c: (c.distance, c.text))
    if not spread or len(ordered) <= n:
        return ordered[:n]
    return [ordered[int(i)] for i in np.linspace(0, len(ordered) - 1, n).round()]


class _Maker:
    """Everything about one phrase."""

    def __init__(self, phrase: str, voice: str, avoid: Sequence[str]) -> None:
        self.phrase, self.words, self.voice = phrase, phrase.split(), voice
        self.avoid = (phrase, *avoid)
        spoken = phonemes([phrase, *avoid, *self.words], voice)
        self.sounds, self.avoided = spoken[0], spoken[: len(self.avoid)]
        self.word_sounds = spoken[len(self.avoid) :]
        if len(self.sounds) < MIN_SOUNDS + 1:
            raise UsageError(f"{phrase!r} is too short to have near phrases")

    def of_kind(self, kind: ConfusableKind, n: int) -> list[Confusable]:
        """Up to n of a kind."""
        if kind == "near":
            return self._near(n)
        if kind == "inside":
            return self._inside(n)
        if kind == "part":
            return _best(self._parts, n, spread=True)
        return _best(self._judged(kind, self._repeats(n) if kind == "repeat" else self._swaps()), n)

    @cached_property
    def _parts(self) -> list[Confusable]:
        """Beginnings, endings and single words."""
        return self._judged("part", [*self._fragments, *(self.words if len(self.words) > 1 else [])])

    def _repeats(self, n: int) -> list[str]:
        """A part said two or three times."""
        parts = [c.text for c in _best(self._parts, n, spread=True)]
        return [*(f"{part} {part}" for part in parts), *(f"{part} {part} {part}" for part in parts[: n // 3])]

    def _swaps(self) -> list[str]:
        """Words, halves or first sounds of words in another order."""
        cuts = [(self.phrase[:i].strip(), self.phrase[i:].strip()) for i in range(2, len(self.phrase) - 1)]
        halves = [f"{tail} {head}" for head, tail in cuts if {head, tail} <= set(self._fragments)]
        orders = islice(permutations(self.words), 1, MAX_ORDERS)
        return [*(" ".join(order) for order in orders), *halves, *self._onsets()]

    def _near(self, n: int) -> list[Confusable]:
        """Words that sound alike, and of phrases of several words those with one exchanged; some pairs."""
        alike = [*self._near_words(self.sounds, 4 * n), *self._exchanged()]
        words = _best((c for c in self._judged("near", alike) if c.distance <= FAR), n)
        pairs = [c for c in self._judged("near", self._near_pairs()) if PAIR_SAME <= c.distance <= FAR]
        several = _best(_varied(pairs), max(n // 4, n - len(words)))
        return _best({c.text: c for c in (*words[: n - len(several)], *several)}.values(), n)

    def _inside(self, n: int) -> list[Confusable]:
        """Longer words with the phrase's sounds in them, and sentences around parts and near phrases."""
        near, parts = ([c.text for c in self.of_kind(kind, n)] for kind in ("near", "part"))
        names = [name for pair in zip_longest(near, parts) for name in pair if name]
        carriers = CARRIERS.get(self.voice.partition("-")[0], ())
        texts = [carriers[i % len(carriers)].format(name) for i, name in enumerate(names) if carriers]
        if len(self.words) > 1 and near:
            texts.insert(0, " ".join([self.words[0], near[0].split()[0], *self.words[1:]]))
        sentences = self._judged("inside", texts)
        words = _best(self._longer_words(), max(n // 2, n - len(sentences)))
        return [*words, *sentences[: n - len(words)]]

    def _judged(self, kind: ConfusableKind, texts: Iterable[str]) -> list[Confusable]:
        """Those that are neither the phrase nor hold it (or another phrase); of homophones the first."""
        spoken = dict(zip(unique := list(dict.fromkeys(texts)), phonemes(unique, self.voice), strict=True))
        if not spoken:
            return []
        heard = Spoken(list(spoken.values()))
        held = np.min([distances_within(phrase, heard) for phrase in self.avoided], axis=0)
        whole = held if kind == "inside" else distances(self.sounds, heard)
        found = dict[Phonemes, Confusable]()
        for (text, sounds), inner, outer in zip(spoken.items(), held.tolist(), whole.tolist(), strict=True):
            # Nearly all of the phrase lies within a near word that is no longer than the phrase.
            apart = inner >= HELD or (kind in ("near", "part") and len(sounds) <= len(self.sounds))
            named = any(f" {phrase} " in f" {text} " for phrase in self.avoid)
            if apart and not named and outer >= SAME and len(sounds) >= MIN_SOUNDS:
                found.setdefault(sounds, Confusable(text, kind, round(outer, 3)))
        return list(found.values())

    @cached_property
    def _fragments(self) -> list[str]:
        """Beginnings and endings of the spelling that sound like those of the phrase, the phrase left out."""
        letters, sounds = self.phrase, self.sounds
        heads = [letters[:i].strip() for i in range(2, len(letters))]
        tails = [letters[i:].strip() for i in range(1, len(letters) - 1) if _speakable(letters, i)]
        spoken = phonemes(heads + tails, self.voice)
        sizes = range(MIN_SOUNDS, len(sounds))
        fits = list[str]()
        for i, (text, heard) in enumerate(zip(heads + tails, spoken, strict=True)):
            pieces = [sounds[:k] if i < len(heads) else sounds[-k:] for k in sizes]
            vowels = all(_first_vowel(word) < len(word) for word in text.split())
            if vowels and len(heard) >= MIN_SOUNDS and distances(heard, pieces).min() <= FRAGMENT_FIT:
                fits.append(text)
        return list(dict.fromkeys(fits))

    def _onsets(self) -> list[str]:
        """Two neighbouring words with their first consonants exchanged ("mart smirror")."""
        swapped = []
        for i, (a, b) in enumerate(pairwise(self.words)):
            at_a, at_b = _first_vowel(a), _first_vowel(b)
            words = [*self.words[:i], b[:at_b] + a[at_a:], a[:at_a] + b[at_b:], *self.words[i + 2 :]]
            if a[:at_a] != b[:at_b] and at_a < len(a) and at_b < len(b):
                swapped.append(" ".join(words))
        return swapped

    def _near_words(self, sounds: Phonemes, limit: int) -> list[str]:
        """Words of the language that sound most like these, the nearest first."""
        known = vocabulary(self.voice)
        ranked = distances(sounds, known.spoken)
        return [known.words[i] for i in np.argsort(ranked, kind="stable")[:limit] if ranked[i] <= FAR]

    def _exchanged(self) -> list[str]:
        """The phrase with one word exchanged for a near one."""
        return [
            " ".join([*self.words[:i], word, *self.words[i + 1 :]])
            for i, sounds in enumerate(self.word_sounds if len(self.words) > 1 else [])
            for word in self._near_words(sounds, 4 * PIECES)
        ]

    def _near_pairs(self) -> list[str]:
        """Two words that together sound like the phrase, wherever the gap."""
        texts = []
        for k in range(MIN_SOUNDS, len(self.sounds) - MIN_SOUNDS + 1):
            first, second = (self._near_words(s, PIECES) for s in (self.sounds[:k], self.sounds[k:]))
            texts += [f"{a} {b}" for a in first for b in second]
        return texts

    def _longer_words(self) -> list[Confusable]:
        known = vocabulary(self.voice)
        held = distances_within(self.sounds, known.spoken)
        others = [distances_within(phrase, known.spoken) for phrase in self.avoided[1:]]
        free = np.min([np.ones(len(held)), *others], axis=0) >= SAME
        more = known.spoken.lengths - len(self.sounds)
        longer = (more > 1) | ((more == 1) & (held > 0))  # one more at the end is a plural: the phrase itself
        where = np.flatnonzero((held <= LIKE) & free & longer)
        return [Confusable(known.words[i], "inside", round(float(held[i]), 3)) for i in where]


def _varied(pairs: Sequence[Confusable]) -> list[Confusable]:
    """Of pairs that share a word, the two nearest."""
    used, kept = Counter[str](), list[Confusable]()
    for pair in sorted(pairs, key=lambda c: (c.distance, c.text)):
        if all(used[word] < 2 for word in pair.text.split()):
            kept.append(pair)
            used.update(pair.text.split())
    return kept


def _first_vowel(word: str) -> int:
    """Where the first vowel letter is; the word's length if it has none."""
    plain = (unicodedata.normalize("NFD", c)[0] for c in word)
    return next((i for i, c in enumerate(plain) if c in "aeiouyæøœ"), len(word))


def _speakable(letters: str, at: int) -> bool:
    """Whether what begins there can be spoken: a whole word, or at most one consonant before a vowel."""
    begins = letters[at] == " " or letters[at - 1] == " "
    return begins or _first_vowel(letters[at:].split()[0]) <= 1
