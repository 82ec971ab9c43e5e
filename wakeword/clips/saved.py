"""What a listener saved around each detection, and what people say it was.

`wakeword listen --save` writes a WAV and a JSON file per event. Labelling makes of them clips of the phrase
(it was said) and hard negatives (it was not), in the form that `train` takes.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from wakeword.clips.dataset import COLUMNS, normalise_phrase, split_of
from wakeword.errors import DataError
from wakeword.files import write_csv, written_whole

Label: TypeAlias = Literal["yes", "no", "unclear"]
LABELS: tuple[Label, ...] = get_args(Label)
"""The phrase was said; it was not; leave it out."""


@dataclass(frozen=True)
class SavedEvent:
    """One detection with its sound."""

    path: Path
    phrase: str
    score: float
    at: str
    """When, UTC."""
    stream: str
    seconds: float


def load_saved(folder: Path) -> list[SavedEvent]:
    """The events in a folder, the oldest first; a WAV without its JSON, or the reverse, is none.

    Raises DataError where there is none.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder of saved clips: {folder}")
    events = [event for path in sorted(folder.glob("*.json")) if (event := _event(path))]
    if not events:
        raise DataError(f"nothing saved in {folder}; `wakeword listen --save {folder}` keeps what it detects")
    return events


def _event(about: Path) -> SavedEvent | None:
    sound = about.with_suffix(".wav")
    try:
        told = json.loads(about.read_text(encoding="utf-8"))
        event = SavedEvent(
            sound,
            normalise_phrase(str(told["phrase"])),
            float(told["score"]),
            str(told.get("at", "")),
            str(told.get("stream", "")),
            float(told.get("seconds", 0)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return event if sound.is_file() and math.isfinite(event.score) else None


def read_labels(path: Path) -> dict[str, Label]:
    """File name -> label, of a CSV with the columns file and label; empty where there is none yet."""
    if not path.exists():
        return {}
    found: dict[str, Label] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, restval=""):
                said = next((label for label in LABELS if label == row.get("label", "").strip()), None)
                if said is not None and row.get("file"):
                    found[row["file"]] = said
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: not a readable list of labels ({err})") from err
    return found


def write_labels(path: Path, events: Sequence[SavedEvent], labels: Mapping[str, Label]) -> None:
    """Write a row per event; those without a label are to be filled in: yes, no or unclear."""
    rows = [
        (e.path.name, labels.get(e.path.name, ""), e.phrase, f"{e.score:.3f}", e.at, e.stream) for e in events
    ]
    write_csv(path, ("file", "label", "phrase", "score", "at", "stream"), rows)


def sort_out(out: Path, events: Sequence[SavedEvent], labels: Mapping[str, Label]) -> Path:
    """Copy what is labelled to out/said/<phrase> and out/not_said; return out/index.csv, which lists them.

    The list is a manifest: of clips of the phrases, and of background that came near them. A recording's
    split is drawn by its name.
    """
    rows = []
    for event in events:
        said = labels.get(event.path.name)
        if said not in ("yes", "no"):
            continue
        folder = f"said/{event.phrase.replace(' ', '_')}" if said == "yes" else "not_said"
        target = out / folder / event.path.name
        _copy(event.path, target)
        kind, label = ("phrase", event.phrase) if said == "yes" else ("speech", "")
        name = target.relative_to(out).as_posix()
        # What was saved in one hour is one speaker and one room, most likely: it stays together.
        group = f"{event.stream} {event.at[:13]}".strip() or event.path.stem
        seconds = f"{event.seconds:.2f}"
        rows.append((name, kind, label, split_of(group), group, seconds, "", "", "saved"))
    write_csv(out / "index.csv", COLUMNS, rows)
    return out / "index.csv"


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as partial:
            shutil.copyfile(source, partial)
    except OSError as err:
        raise DataError(f"cannot copy {source} to {target}: {err.strerror or err}") from err
