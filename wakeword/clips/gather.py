"""What a run learns from: the recordings that were given, and what a machine speaks beside them.

Real recordings of a phrase are always used. Synthetic voices join them, however many there are, to teach the
student: few people make many clips. Where recordings are few, or none, dev is spoken by machine too; where no
background is given, it is made. Everything made is cached, and never counts as test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wakeword.cache import cache_dir
from wakeword.clips.advice import require_speakable
from wakeword.clips.confusable_clips import synthesise_confusables
from wakeword.clips.dataset import (
    Clip,
    Rejected,
    Split,
    check_clips,
    load_background,
    load_clips,
)
from wakeword.clips.drop import DropList
from wakeword.clips.spoken import INDEX
from wakeword.clips.synth import Progress, synthesise
from wakeword.clips.synth_background import synthesise_background
from wakeword.config import DataConfig
from wakeword.errors import DataError

FEW = 60
"""Real clips of a phrase (train and dev) below which synthetic ones join them."""
REAL_SHARE = 0.5
"""Weight of a few real clips against the synthetic ones they are mixed with."""
TRAIN_AND_DEV: tuple[Split, ...] = ("train", "dev")


@dataclass(frozen=True)
class Recordings:
    """What a run may use: train and dev, never test."""

    phrases: tuple[str, ...]
    clips: Mapping[str, list[Clip]]
    """split -> clips of the phrases. A few real ones are listed several times, so that they weigh enough."""
    background: Mapping[str, list[Clip]]
    near: Mapping[str, list[Clip]]
    """split -> clips spoken by machine of what sounds like a phrase but is not one."""
    synthetic: frozenset[str]
    """Phrases whose dev clips are spoken by machine."""
    joined: frozenset[Path] = frozenset()
    """Those of the train clips that a machine spoke beside people's: for a student alone to learn from."""
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user is to know."""

    def without(self, drop: DropList) -> Recordings:
        """The same less the recordings that are dropped as a whole."""
        clips, background = (
            {split: drop.keep(part) for split, part in parts.items()}
            for parts in (self.clips, self.background)
        )
        return replace(self, clips=clips, background=background)

    def counts(self) -> dict[str, dict[str, int]]:
        """Phrase -> clips in train and dev, and how many by machine join those in train."""
        found = dict[str, dict[str, int]]()
        for phrase in self.phrases:
            of = {split: [c for c in clips if c.label == phrase] for split, clips in self.clips.items()}
            joined = sum(c.path in self.joined for c in of["train"])
            found[phrase] = {split: len(clips) for split, clips in of.items()}
            found[phrase]["train"] -= joined
            if joined:
                found[phrase]["by machine"] = joined
        return found


@dataclass(frozen=True)
class Given:
    """The recordings that somebody made."""

    phrases: tuple[str, ...]
    clips: tuple[Clip, ...]
    """Of the phrases; train and dev."""
    background: tuple[Clip, ...]
    rejected: tuple[Rejected, ...]


def read_given(phrases: Sequence[str], clips: Path | None, background: Sequence[Path]) -> Given:
    """List the recordings there are.

    Args:
        phrases: What to listen for.
        clips: Recordings of them, as `load_clips` takes them; None = there are none.
        background: Recordings without them, as `load_background` takes them.

    Raises UsageError for what cannot be a phrase, DataError for recordings that cannot be used.
    """
    wanted = tuple(dict.fromkeys(require_speakable(phrase) for phrase in phrases))
    good, rejected = check_clips(load_clips(clips, phrases)) if clips else ([], [])
    real = tuple(clip for clip in good if clip.split != "test")
    around = load_background(background) if background else []
    if around:
        _require_speech(around)
    return Given(wanted, real, tuple(around), tuple(rejected))


def gather(
    given: Given,
    data: DataConfig,
    language: str,
    seed: int,
    progress: Progress,
) -> Recordings:
    """Make the recordings that are missing, and deal all to train and dev.

    Args:
        given: What there is.
        data: How much is made.
        language: Of the phrases, such as "en" or "de".
        seed: Decides all that is drawn.
        progress: Told of each recording made.

    Raises DataError where no speech engine is there to make missing ones.
    """
    wanted = given.phrases
    by_phrase = {phrase: [c for c in given.clips if c.label == phrase] for phrase in wanted}
    few = [phrase for phrase in wanted if len(by_phrase[phrase]) < FEW]
    made = {p: _spoken(p, data.synthetic, language, seed, progress) for p in few if data.synthetic}
    chosen = [c for p in wanted for c in _mixed(by_phrase[p], made.get(p, []))]
    many = [phrase for phrase in wanted if phrase not in few]
    joining, alone = _joining(many, data.synthetic, language, seed, progress)
    near, note = _near_phrases(wanted, data.near, language, seed, progress)
    around = given.background or _made_background(wanted, data, language, seed, progress)
    return Recordings(
        wanted,
        _by_split([*chosen, *joining]),
        _by_split(around),
        _by_split(near),
        frozenset(p for p in made if made[p]),
        frozenset(clip.path for clip in joining),
        given.rejected,
        tuple(text for text in (alone, note) if text),
    )


def _mixed(real: list[Clip], made: list[Clip]) -> list[Clip]:
    """Real and synthetic clips of one phrase.

    A few real ones all go to training, each several times: the voices of dev are then the machine's.
    """
    if not made or not real:
        return real or made
    n_made = sum(clip.split == "train" for clip in made)
    times = max(1, round(n_made * REAL_SHARE / (1 - REAL_SHARE) / len(real)))
    return [*(replace(clip, split="train") for clip in real for _ in range(times)), *made]


def _by_split(clips: Sequence[Clip]) -> Mapping[str, list[Clip]]:
    return {split: [clip for clip in clips if clip.split == split] for split in TRAIN_AND_DEV}


def _folder(what: str, texts: Sequence[str], language: str, seed: int) -> Path:
    """Where the cache keeps what was made of these texts."""
    slug = "+".join(re.sub(r"\W+", "_", text) for text in texts)[:120]
    return cache_dir() / "spoken" / f"{language}-{seed}" / what / slug


def _spoken(phrase: str, n: int, language: str, seed: int, progress: Progress) -> list[Clip]:
    """Clips of a phrase by machine, all but those for test."""
    folder = _folder("phrases", [phrase], language, seed)
    synthesise(phrase, folder, n, seed, progress, language=language, splits=TRAIN_AND_DEV)
    made = [clip for clip in load_clips(folder / INDEX, [phrase]) if clip.split != "test"]
    return check_clips(made)[0]  # a voice may have said nothing


def _joining(
    phrases: Sequence[str], n: int, language: str, seed: int, progress: Progress
) -> tuple[list[Clip], str]:
    """Clips by machine for training beside people's, or why there are none: there are people's, after all."""
    if not n:
        return [], ""
    try:
        spoken = [clip for phrase in phrases for clip in _spoken(phrase, n, language, seed, progress)]
    except DataError as err:
        return [], f"no voices beside those recorded: {err}"
    return [clip for clip in spoken if clip.split == "train"], ""


def _near_phrases(
    phrases: Sequence[str], n: int, language: str, seed: int, progress: Progress
) -> tuple[list[Clip], str]:
    """Clips of near phrases, or why there are none: without them a detector is easier to fool, no more."""
    if not n:
        return [], ""
    folder = _folder("near", phrases, language, seed)
    try:
        made = synthesise_confusables(
            phrases, folder, n, seed, progress, language=language, splits=TRAIN_AND_DEV
        )
    except DataError as err:
        return [], f"no near phrases to learn from: {err}"
    return check_clips([one.clip for one in made])[0], ""


def _made_background(
    phrases: Sequence[str], data: DataConfig, language: str, seed: int, progress: Progress
) -> list[Clip]:
    folder = _folder("background", phrases, language, seed)
    splits = TRAIN_AND_DEV
    synthesise_background(folder, data.minutes, seed, progress, phrases, language=language, splits=splits)
    clips = load_background([folder / INDEX])
    _require_speech(clips)
    return clips


def _require_speech(clips: Sequence[Clip]) -> None:
    for split in TRAIN_AND_DEV:
        if not any(clip.kind == "speech" and clip.split == split for clip in clips):
            raise DataError(
                "no background speech to learn what the phrase is not; give folders of recordings without "
                "the phrases with --background, or leave that out to have it spoken by machine"
            )
