"""Are the recordings what they are said to be? A speech recogniser listens to them.

Background that holds a phrase teaches a detector not to hear it, and counts what it rightly finds as false;
clips without the phrase teach it to fire at anything. Both are looked for by word and by sound: a recogniser
that writes "come pewter" heard the phrase too. The recogniser knows English only; in other languages an
international word may be found all the same, but nothing found says little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from wakeword.clips.dataset import Clip, normalise_phrase
from wakeword.clips.drop import span_text
from wakeword.clips.phonemes import Phonemes, Spoken, distances, distances_within, phonemes
from wakeword.clips.recogniser import Word
from wakeword.errors import AudioError, DataError, UsageError
from wakeword.files import write_csv

HOLDS_PHRASE = 0.16
"""Background whose words sound as near as this to the phrase is taken to hold it."""
HOLDS_WHOLE = 0.03
"""A longer word in which the phrase sounds as near as this holds it."""
UNLIKE = 0.5
"""A clip whose words are farther than this from its phrase is listed."""
AROUND_S = 0.3
"""Added before and after what is found: the recogniser's times are rough."""
CONTEXT_WORDS = 3
MORE_SOUNDS = 3
"""Words are joined until they have so many phonemes more than the phrase."""
COLUMNS = ("finding", "phrase", "path", "start_s", "end_s", "match", "distance", "text")

Progress = Callable[[float], None]
"""Told of the seconds of each recording when it is done."""


class WritesDown(Protocol):
    """A recogniser; see `wakeword.clips.recogniser`."""

    def words(self, path: Path) -> list[Word]:
        """What is said in a recording."""


@dataclass(frozen=True)
class Finding:
    """A recording that is not what it should be."""

    kind: Literal["holds the phrase", "unlike the phrase", "unreadable"]
    phrase: str
    path: Path
    start_s: float | None
    """None: the whole recording."""
    end_s: float | None
    match: Literal["words", "sounds", ""]
    """Whether the phrase itself was written down, or something that sounds like it."""
    distance: float
    """Of the sounds: 0 the phrase, 1 nothing like it."""
    text: str
    """What the recogniser wrote, with some words around."""


def check_recordings(
    recogniser: WritesDown, clips: Sequence[Clip], phrases: Sequence[str], progress: Progress | None = None
) -> Iterator[Finding]:
    """Listen to recordings and yield what is wrong, recording by recording.

    Args:
        recogniser: Writes down what is said.
        clips: Of kind "phrase": each must sound like its label. Of any other: must hold none of the phrases.
        phrases: What background must not hold.
        progress: Told of each recording.
    """
    targets = _Targets([*phrases, *(c.label for c in clips if c.kind == "phrase")])
    for clip in clips:
        try:
            words = recogniser.words(clip.path)
        except (AudioError, DataError) as err:
            yield Finding("unreadable", clip.label, clip.path, None, None, "", 1.0, str(err))
            continue
        if clip.kind == "phrase":
            yield from targets.unlike(clip, words)
        else:
            yield from targets.held(clip.path, words, phrases)
        if progress:
            progress(clip.seconds)


class _Targets:
    """The phrases and how they sound."""

    def __init__(self, phrases: Sequence[str]) -> None:
        names = list(dict.fromkeys(normalise_phrase(phrase) for phrase in phrases))
        if not names:
            raise UsageError("no phrase to look for; give it with --phrase")
        self._sounds = dict(zip(names, phonemes(names), strict=True))

    def held(self, path: Path, words: Sequence[Word], phrases: Sequence[str]) -> Iterator[Finding]:
        """Where background holds one of the phrases."""
        plain = _plain(words)
        for phrase in (normalise_phrase(phrase) for phrase in phrases):
            for i, j, distance in find_phrase([text for text, _ in plain], phrase, self._sounds[phrase]):
                first, last = plain[i][1], plain[j - 1][1]
                exact = " ".join(text for text, _ in plain[i:j]) == phrase
                around = plain[max(0, i - CONTEXT_WORDS) : j + CONTEXT_WORDS]
                yield Finding(
                    "holds the phrase",
                    phrase,
                    path,
                    max(0.0, round(first.start_s - AROUND_S, 2)),
                    round(last.end_s + AROUND_S, 2),
                    "words" if exact else "sounds",
                    distance,
                    " ".join(word.text for _, word in around),
                )

    def unlike(self, clip: Clip, words: Sequence[Word]) -> Iterator[Finding]:
        """The clip, if nothing in it sounds like its phrase."""
        plain = [text for text, _ in _plain(words)]
        sounds = sum(phonemes(plain), ()) if plain else ()
        distance = float(distances_within(self._sounds[clip.label], [sounds])[0])
        if f" {clip.label} " not in f" {' '.join(plain)} " and distance > UNLIKE:
            said = " ".join(word.text for word in words) or "(nothing)"
            yield Finding(
                "unlike the phrase", clip.label, clip.path, None, None, "", min(1.0, round(distance, 3)), said
            )


def _plain(words: Sequence[Word]) -> list[tuple[str, Word]]:
    """Words as `normalise_phrase` writes them, those without a letter left out; "two-word" is two."""
    found = list[tuple[str, Word]]()
    for word in words:
        if any(c.isalnum() for c in word.text):
            found += [(part, word) for part in normalise_phrase(word.text).split()]
    return found


def find_phrase(words: Sequence[str], phrase: str, sounds: Phonemes) -> list[tuple[int, int, float]]:
    """Where words say or sound like a phrase: (first, one past the last, distance), none overlapping.

    Whole words are compared: that "collection" holds the sounds of "alexa" is nothing that was misheard. But
    a word that holds all of the phrase ("computerised") counts, for a detector has to fire there.
    """
    if not words:
        return []
    spoken = dict(zip(known := sorted(set(words)), phonemes(known), strict=True))
    spans = [
        (i, j)
        for i in range(len(words))
        for j in range(i + 1, _reach(words, i, spoken, len(sounds) + MORE_SOUNDS) + 1)
    ]
    joined = Spoken([sum((spoken[word] for word in words[i:j]), ()) for i, j in spans])
    apart = distances(sounds, joined)
    whole = distances_within(sounds, joined)
    found = [
        (i, j, float(min(apart[n], whole[n] if whole[n] <= HOLDS_WHOLE else 1.0)))
        for n, (i, j) in enumerate(spans)
        if apart[n] <= HOLDS_PHRASE or whole[n] <= HOLDS_WHOLE or " ".join(words[i:j]) == phrase
    ]
    chosen = list[tuple[int, int, float]]()
    for i, j, distance in sorted(found, key=lambda f: (round(f[2], 3), f[1] - f[0], f[0])):
        if all(j <= first or i >= last for first, last, _ in chosen):
            chosen.append((i, j, round(distance, 3)))
    return sorted(chosen)


def _reach(words: Sequence[str], i: int, spoken: dict[str, Phonemes], enough: int) -> int:
    """One past the last of the words from i on that have enough phonemes together."""
    total, j = 0, i
    while j < len(words) and total < enough:
        total += len(spoken[words[j]])
        j += 1
    return j


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write them as CSV, whole or not at all."""
    rows = (
        (f.kind, f.phrase, f.path, *span_text(f.start_s, f.end_s), f.match, f"{f.distance:.3f}", f.text)
        for f in findings
    )
    write_csv(path, COLUMNS, rows)
