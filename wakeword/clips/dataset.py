"""Which recordings there are: phrase clips and background, from folders or a manifest, each with its split.

First stage of training and of judging. Nothing is decoded here except by `check_clips`, which reads
every phrase clip once and sets the unusable ones aside. Train, dev and test never share a group (a
speaker or a recording); the group decides the split by its hash, so that adding recordings moves none.
"""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

import soundfile

from wakeword.audio import read_clip
from wakeword.errors import AudioError, DataError, UsageError

Kind: TypeAlias = Literal["phrase", "speech", "noise", "music"]
Split: TypeAlias = Literal["train", "dev", "test"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SPLITS: tuple[Split, ...] = get_args(Split)
BACKGROUND_KINDS: tuple[Kind, ...] = ("speech", "noise", "music")

TRAIN_SHARE, DEV_SHARE = 0.70, 0.15
MIN_CLIPS = 3
"""Fewest clips of a phrase to work with: one each to train, to calibrate and to judge on."""

_READABLE = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64")
# libsndfile does not read the last three; they are listed so that they are refused by name, not passed over.
AUDIO_SUFFIXES = frozenset((*_READABLE, ".m4a", ".aac", ".wma"))
COLUMNS = ("path", "kind", "label", "split", "group", "seconds", "lang", "licence", "source")
REQUIRED_COLUMNS = COLUMNS[:3]


@dataclass(frozen=True)
class Clip:
    """One recording: where it is, what it holds and what it may be used for."""

    path: Path
    kind: Kind
    label: str
    """The phrase as `normalise_phrase` writes it; empty unless kind is "phrase"."""
    split: Split
    group: str
    """Speaker or recording; never in two splits."""
    seconds: float
    """Length by the file's header or the manifest; 0 where that cannot be read."""
    lang: str
    licence: str
    source: str


@dataclass(frozen=True)
class Rejected:
    """A recording that cannot be used, and why, in one line."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class _Where(NamedTuple):
    manifest: Path
    line: int

    def __str__(self) -> str:
        return f"{self.manifest}, line {self.line}"


def normalise_phrase(text: str) -> str:
    """Write a phrase one way: lower case, single spaces, no punctuation ("Smart_Mirror!" -> "smart mirror").

    Raises UsageError when no letter or digit is left.
    """
    spaced = unicodedata.normalize("NFKC", text).lower().replace("_", " ").replace("-", " ")
    kept = "".join(c for c in spaced if c.isspace() or unicodedata.category(c)[0] in "LMN")
    phrase = " ".join(kept.split())
    if not phrase:
        raise UsageError(f"phrase {text!r} holds no letters; give the words to be spoken")
    return phrase


def load_clips(location: Path, phrases: Sequence[str]) -> list[Clip]:
    """List the clips of these phrases, each with its split.

    Args:
        location: A manifest (.csv; columns path, kind, label and perhaps split, group, seconds, lang,
            licence, source; paths relative to it), or a folder with one sub-folder per phrase, named
            like it (spaces or underscores, any case). Folders inside that name the speakers; without
            them every file is a group of its own.
        phrases: What to look for, at least one.

    Raises:
        DataError: nothing there, no clips or fewer than three for a phrase, a broken manifest, or two
            phrases that are the same.
    """
    wanted = _distinct(phrases)
    if location.is_dir():
        clips = _from_folders(location, wanted)
    else:
        clips = _labelled(_from_manifest(location), wanted, location)
    require_clips(clips, wanted)
    return clips


def load_background(locations: Sequence[Path]) -> list[Clip]:
    """List background recordings (speech, noise, music), each with its split.

    Args:
        locations: Folders, searched to any depth (the kind is a folder name "speech", "noise" or
            "music" on the way to the file, otherwise speech), or manifests as in `load_clips`, of which
            the rows that are no phrase are taken.

    Raises DataError for a location that is missing, broken or holds no background.
    """
    clips = [clip for location in locations for clip in _background_at(location)]
    return list({clip.path.resolve(): clip for clip in clips}.values())


def load_recordings(location: Path, phrases: Sequence[str] = ()) -> list[Clip]:
    """Everything in a manifest, or in a folder: there sub-folders named like one of the phrases hold clips.

    Raises DataError where there is nothing.
    """
    if not location.is_dir():
        return _from_manifest(location)
    named = {normalise_phrase(phrase): list[Path]() for phrase in phrases}
    for folder in sorted(f for f in location.iterdir() if f.is_dir()):
        if (name := _phrase_or_empty(folder.name)) in named:
            named[name].append(folder)
    clips = _assign_splits([c for name, folders in named.items() for c in _phrase_clips(name, folders)], {})
    spoken = {clip.path for clip in clips}
    others = [path for path in _audio_files(location) if path not in spoken]
    if not clips and not others:
        raise DataError(f"no recordings in {location}")
    return clips + [
        _folder_clip(p, _kind_of(p, location), "", p.relative_to(location).as_posix()) for p in others
    ]


def require_clips(clips: Iterable[Clip], phrases: Sequence[str]) -> None:
    """Raise DataError unless every phrase has at least three of the clips."""
    labels = [clip.label for clip in clips]
    for phrase in phrases:
        n = labels.count(normalise_phrase(phrase))
        if n < MIN_CLIPS:
            found = f"only {n} usable clip{'s' * (n > 1)}" if n else "no usable clips"
            raise DataError(f"{found} of {phrase!r}; at least {MIN_CLIPS} are needed")


def check_clips(clips: Sequence[Clip]) -> tuple[list[Clip], list[Rejected]]:
    """Read every clip once, in threads; return those that can be used and those that cannot, in order."""
    with ThreadPoolExecutor() as pool:
        reasons = list(pool.map(_fault, (clip.path for clip in clips)))
    good = [clip for clip, reason in zip(clips, reasons, strict=True) if not reason]
    bad = [Rejected(clip.path, reason) for clip, reason in zip(clips, reasons, strict=True) if reason]
    return good, bad


def _fault(path: Path) -> str:
    """Why `path` is no usable clip, in one line; empty if it is."""
    try:
        read_clip(path)
    except AudioError as err:
        return " ".join(str(err).removeprefix(f"{path}: ").removesuffix(f": {path}").split())
    return ""


def _distinct(phrases: Sequence[str]) -> list[str]:
    if not phrases:
        raise UsageError("no phrase given; name at least one")
    seen: dict[str, str] = {}
    for given in phrases:
        phrase = normalise_phrase(given)
        if phrase in seen:
            raise DataError(f"phrases {seen[phrase]!r} and {given!r} are the same; give each once")
        seen[phrase] = given
    return list(seen)


def _audio_files(folder: Path) -> list[Path]:
    """Every audio file below `folder`, sorted; hidden files and folders are passed over."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _from_folders(location: Path, wanted: Sequence[str]) -> list[Clip]:
    folders = sorted(f for f in location.iterdir() if f.is_dir() and not f.name.startswith("."))
    by_phrase: dict[str, list[Path]] = {phrase: [] for phrase in wanted}
    for folder in folders:
        if (name := _phrase_or_empty(folder.name)) in by_phrase:
            by_phrase[name].append(folder)
    clips: list[Clip] = []
    for phrase, matches in by_phrase.items():
        if not matches:
            found = _listed(folder.name for folder in folders)
            raise DataError(f"no folder for phrase {phrase!r} in {location}; folders there: {found}")
        clips += _phrase_clips(phrase, matches)
    return _assign_splits(clips, {})


def _phrase_or_empty(text: str) -> str:
    try:
        return normalise_phrase(text)
    except UsageError:
        return ""


def _phrase_clips(phrase: str, folders: Sequence[Path]) -> list[Clip]:
    """Clips of one phrase. With fewer than three speakers nobody can be held out, so files are."""
    found = [(path, folder) for folder in folders for path in _audio_files(folder)]
    groups = [path.relative_to(folder).parts[0] for path, folder in found]
    if len(set(groups)) < len(SPLITS):
        groups = [path.relative_to(folder).as_posix() for path, folder in found]
    return [
        _folder_clip(path, "phrase", phrase, group) for (path, _), group in zip(found, groups, strict=True)
    ]


def _folder_clip(path: Path, kind: Kind, label: str, group: str) -> Clip:
    return Clip(
        path, kind, label, "train", group, _header_seconds(path), lang="", licence="", source="folder"
    )


def _header_seconds(path: Path) -> float:
    try:
        return float(soundfile.info(path).duration)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return 0.0  # `check_clips` says what is wrong with it


def _background_at(location: Path) -> list[Clip]:
    if location.is_dir():
        paths = _audio_files(location)
        clips = _assign_splits(
            [_folder_clip(p, _kind_of(p, location), "", p.relative_to(location).as_posix()) for p in paths],
            {},
        )
    else:
        clips = [clip for clip in _from_manifest(location) if clip.kind != "phrase"]
    if not clips:
        raise DataError(f"no background recordings in {location}; speech, noise or music is needed")
    return clips


def _kind_of(path: Path, location: Path) -> Kind:
    parts = (location.resolve().name, *path.relative_to(location).parts[:-1])
    named = [part.lower() for part in parts if part.lower() in BACKGROUND_KINDS]
    return cast(Kind, named[-1]) if named else "speech"


def _from_manifest(path: Path) -> list[Clip]:
    rows = _read_rows(path)
    clips = [_row_clip(row, where) for where, row in rows]
    is_set = [bool((row.get("split") or "").strip()) for _, row in rows]
    fixed = [clip for clip, known in zip(clips, is_set, strict=True) if known]
    free = [clip for clip, known in zip(clips, is_set, strict=True) if not known]
    return fixed + _assign_splits(free, {clip.group: clip.split for clip in fixed})


def _read_rows(path: Path) -> list[tuple[_Where, dict[str, str]]]:
    """The rows of a manifest, each with where it stands, for messages."""
    if not path.exists():
        raise DataError(f"no such folder or manifest: {path}")
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path} is neither a folder nor a .csv manifest")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey="", restval="")
            missing = [name for name in REQUIRED_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: no column {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
            return [(_Where(path, reader.line_num), row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: not a readable manifest ({err})") from err


def _labelled(clips: Sequence[Clip], wanted: Sequence[str], manifest: Path) -> list[Clip]:
    labels = {clip.label for clip in clips if clip.kind == "phrase"}
    for phrase in wanted:
        if phrase not in labels:
            raise DataError(f"no phrase {phrase!r} in {manifest}; labels there: {_listed(labels)}")
    return [clip for clip in clips if clip.label in wanted]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _row_clip(row: Mapping[str, str], where: _Where) -> Clip:
    cell = {name: row.get(name, "").strip() for name in COLUMNS}
    kind = _choice(cell["kind"], KINDS, f"{where}: kind")
    split = _choice(cell["split"] or "train", SPLITS, f"{where}: split")
    label = _phrase_or_empty(cell["label"]) if kind == "phrase" else ""
    if not cell["path"] or (kind == "phrase" and not label):
        raise DataError(f"{where}: every row needs a path, and a phrase needs a label")
    return Clip(
        path=where.manifest.parent / cell["path"],
        kind=cast(Kind, kind),
        label=label,
        split=cast(Split, split),
        group=cell["group"] or cell["path"],
        seconds=_seconds(cell["seconds"], where),
        lang=cell["lang"],
        licence=cell["licence"],
        source=cell["source"],
    )


def _seconds(text: str, where: _Where) -> float:
    try:
        return float(text or 0)
    except ValueError as err:
        raise DataError(f"{where}: seconds is {text!r}, expected a number") from err


def _choice(value: str, allowed: Sequence[str], what: str) -> str:
    if value not in allowed:
        raise DataError(f"{what} is {value!r}; choose one of {', '.join(allowed)}")
    return value


def split_of(group: str) -> Split:
    """Split of a speaker or recording by the hash of its name, where nothing else says so."""
    return _split_at(_position(group))


def _position(group: str) -> float:
    """Where a group falls in [0, 1), by hash: the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


def _split_at(position: float) -> Split:
    if position < TRAIN_SHARE:
        return "train"
    return "dev" if position < TRAIN_SHARE + DEV_SHARE else "test"


def _assign_splits(clips: Sequence[Clip], given: Mapping[str, Split]) -> list[Clip]:
    """Set each clip's split by its group: 70/15/15 by hash, unless `given` says otherwise.

    With few groups the hash may leave a split without a phrase (or kind). Then the nearest group of
    that phrase's largest split is lent to it, so that a handful of clips still can be judged.
    """
    split_of: dict[str, Split] = {c.group: given.get(c.group, _split_at(_position(c.group))) for c in clips}
    for name in sorted({clip.label or clip.kind for clip in clips}):
        groups = sorted({c.group for c in clips if (c.label or c.kind) == name}, key=_position)
        _lend(split_of, [group for group in groups if group not in given])
    return [replace(clip, split=split_of[clip.group]) for clip in clips]


def _lend(split_of: dict[str, Split], groups: Sequence[str]) -> None:
    """Give each empty split one of the groups (sorted by position), if there are enough for all."""
    if len(groups) < len(SPLITS):
        return
    for split in SPLITS:
        members = {s: [g for g in groups if split_of[g] == s] for s in SPLITS}
        if not members[split]:
            largest = max(members.values(), key=len)
            split_of[largest[0] if split == "train" else largest[-1]] = split
