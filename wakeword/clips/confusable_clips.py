"""Confusables as recordings: spoken by machine for training, choosing and judging, each by its own voices.

`out_dir/<phrase>/<kind>/<text>/<voice>/NNN.wav`, listed in `out_dir/index.csv`. That list is a manifest of
background speech, so `train --background out_dir/index.csv` takes it as it is; `evaluate --confusables
out_dir` counts what of the test voices is accepted, by kind. Files that are there are kept.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

from wakeword.clips.confusables import CONFUSABLE_KINDS, HELD, Confusable, confusables
from wakeword.clips.dataset import (
    AUDIO_SUFFIXES,
    COLUMNS,
    SPLITS,
    Clip,
    Split,
    load_background,
    normalise_phrase,
)
from wakeword.clips.engines import find_voices
from wakeword.clips.spoken import INDEX, SpokenClip
from wakeword.clips.synth import Progress, in_parallel, speak_many
from wakeword.clips.voices import Voice
from wakeword.errors import DataError, UsageError
from wakeword.files import write_csv

MORE_COLUMNS = ("phrase", "confusable", "text", "distance", "held_out")
SMALLER_SPLITS = 4
"""For dev and for test a quarter as many clips are made as for training."""
JUDGED = 100
"""Clips of each phrase, where they are made to judge a detector."""
HELD_OUT = 4
"""Every so-manieth near phrase and longer word is spoken for the test only."""
G2P_VOICES = {"en": "en-us"}
"""The espeak-ng voice that says how a language sounds, where it is not named like the language."""


@dataclass(frozen=True)
class ConfusableClip:
    """One recording that must not be taken for a phrase."""

    clip: Clip
    phrase: str
    """The phrase it is near to; empty where nothing says so."""
    kind: str
    """"part", "repeat", "swap", "near", "inside", or whatever its folder is called."""
    text: str
    distance: float
    held_out: bool
    """The text was spoken for no training."""


@dataclass(frozen=True)
class _Order:
    """A text to be spoken once."""

    phrase: str
    split: Split
    confusable: Confusable
    held_out: bool


def synthesise_confusables(
    phrases: Sequence[str],
    out_dir: Path,
    n: int,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    language: str = "en",
    engines: Sequence[str] = (),
    splits: Sequence[Split] = SPLITS,
    per_kind: int = 12,
) -> list[ConfusableClip]:
    """Speak the confusables of each phrase; return the clips, listed in out_dir/index.csv too.

    Args:
        phrases: What the detector listens for; what sounds like one of them is never made for another.
        out_dir: Where the recordings go. Those that are there are kept.
        n: Clips of each phrase for training; a quarter as many for dev, and for test.
        seed: Decides voices, pace and melody.
        progress: Told of each text.
        language: Of the phrases, such as "en" or "de".
        engines: Which speech engines to use; all that are installed unless given.
        splits: What to make them for. No voice is in two splits. Train and dev leave out every fourth near
            phrase, longer word and sentence (`held_out`), and texts within which the phrase itself is heard.
        per_kind: Most texts of each kind.

    Raises DataError where espeak-ng, a voice or the language's word list is missing.
    """
    if n < SMALLER_SPLITS:
        raise UsageError(f"cannot make {n} confusable clips a phrase; give at least {SMALLER_SPLITS}")
    voices = find_voices(language, engines)
    spoken_as = G2P_VOICES.get(language, language)
    wanted = [normalise_phrase(phrase) for phrase in phrases]
    orders = [
        _Order(phrase, split, text, held_out)
        for phrase in wanted
        for texts in [_texts(phrase, wanted, spoken_as, per_kind)]
        for split in splits
        for held_out, text in _dealt(texts, split, n if split == "train" else n // SMALLER_SPLITS)
    ]
    by_split = {split: {v: w for v, w in voices.items() if v.split == split} for split in splits}
    tasks = [
        partial(_speak, order, times, out_dir, seed, by_split[order.split])
        for order, times in Counter(orders).items()
    ]
    _write_index(out_dir, [one for spoken in in_parallel(tasks, progress) for one in spoken])
    return load_confusables(out_dir)


def _texts(phrase: str, phrases: Sequence[str], voice: str, per_kind: int) -> list[tuple[bool, Confusable]]:
    """(held out, text), the kinds in turn."""
    found = confusables(phrase, per_kind, voice, [other for other in phrases if other != phrase])
    kinds = []
    for kind in CONFUSABLE_KINDS:
        of_kind = [c for c in found if c.kind == kind]
        rare = kind in ("near", "inside")
        kinds.append([(rare and i % HELD_OUT == HELD_OUT - 1, c) for i, c in enumerate(of_kind)])
    return [pair for row in zip_longest(*kinds) for pair in row if pair is not None]


def _dealt(
    texts: Sequence[tuple[bool, Confusable]], split: Split, n: int
) -> Iterator[tuple[bool, Confusable]]:
    """n texts, each as often as any other."""
    fit = [(held, c) for held, c in texts if split == "test" or not (held or _heard_within(c))]
    for i in range(n if fit else 0):
        yield fit[i % len(fit)]


def _heard_within(confusable: Confusable) -> bool:
    """Whether a detector has every right to fire before it can know better."""
    return confusable.kind == "inside" and confusable.distance < HELD


def _speak(
    order: _Order, times: int, out_dir: Path, seed: int, voices: Mapping[Voice, float]
) -> list[tuple[_Order, SpokenClip]]:
    if not voices:
        raise DataError(f"no voice at hand is for {order.split}; install another speech engine")
    folder = out_dir / order.phrase.replace(" ", "_") / order.confusable.kind
    return [(order, made) for made in speak_many([order.confusable.text], folder, times, seed, None, voices)]


def _write_index(out_dir: Path, spoken: Iterable[tuple[_Order, SpokenClip]]) -> None:
    rows = (_row(order, made, out_dir) for order, made in spoken)
    write_csv(out_dir / INDEX, (*COLUMNS, *MORE_COLUMNS), rows)


def _row(order: _Order, made: SpokenClip, out_dir: Path) -> tuple[str, ...]:
    confusable = order.confusable
    return (
        *(made.path.relative_to(out_dir).as_posix(), "speech", "", made.voice.split, made.voice.throat),
        *(f"{made.seconds:.2f}", made.voice.language, made.voice.licence, made.voice.engine),
        *(order.phrase, confusable.kind, confusable.text, f"{confusable.distance:.3f}"),
        "yes" if order.held_out else "",
    )


def load_confusables(folder: Path, split: Split | None = None) -> list[ConfusableClip]:
    """The recordings in a folder, of one split or all.

    A folder of `synthesise_confusables` says by its list what each is. Any other folder holds a sub-folder
    per kind, named as you like, with recordings of your own (to any depth, all for any split).

    Raises DataError where there is none.
    """
    if (folder / INDEX).is_file():
        chosen = [one for one in _listed(folder) if split in (None, one.clip.split)]
    else:
        chosen = list(_in_folders(folder))
    if not chosen:
        raise DataError(
            f"no recordings of confusables{f' for {split}' if split else ''} in {folder}; "
            "it needs an index.csv of synthesised ones, or a folder per kind"
        )
    return chosen


def find_confusables(folder: Path, phrases: Sequence[str], split: str, seed: int = 1) -> list[ConfusableClip]:
    """The recordings in a folder for a split ("all": of any); a folder that is not there is filled first.

    Raises DataError where there is none, and where none can be made.
    """
    wanted = next((s for s in SPLITS if s == split), None)
    if not folder.exists():
        synthesise_confusables(phrases, folder, JUDGED * SMALLER_SPLITS, seed, splits=[wanted or "test"])
    return load_confusables(folder, wanted)


def _listed(folder: Path) -> Iterator[ConfusableClip]:
    path = folder / INDEX
    clips = {clip.path: clip for clip in load_background([path])}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: not a readable list ({err})") from err
    for row in rows:
        clip = clips.get(folder / row["path"])
        if clip is not None:
            held_out = row.get("held_out", "") == "yes"
            distance = float(row.get("distance") or "nan")
            kind = row.get("confusable") or "other"
            yield ConfusableClip(clip, row.get("phrase", ""), kind, row.get("text", ""), distance, held_out)


def _in_folders(folder: Path) -> Iterator[ConfusableClip]:
    if not folder.is_dir():
        raise DataError(f"no such folder of confusables: {folder}")
    kinds = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    for kind in kinds:
        if any(p.suffix.lower() in AUDIO_SUFFIXES for p in kind.rglob("*")):
            for clip in load_background([kind]):
                yield ConfusableClip(clip, "", kind.name, "", float("nan"), False)
