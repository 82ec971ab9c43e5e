"""The list of what was spoken: `index.csv` beside the clips, a manifest that `dataset` reads."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wakeword.clips.dataset import COLUMNS, KINDS, Kind
from wakeword.clips.voices import Voice
from wakeword.errors import DataError
from wakeword.files import written_whole

INDEX = "index.csv"
MORE_COLUMNS = ("start_s", "end_s")


@dataclass(frozen=True)
class SpokenClip:
    """One recording made by machine."""

    path: Path
    text: str
    """What is spoken; for background the kind."""
    kind: Kind
    voice: Voice
    seconds: float
    start_s: float
    """Where the text begins, after words before it and the silence at the start."""
    end_s: float


def write_index(out_dir: Path, clips: Sequence[SpokenClip]) -> Path:
    """Write out_dir/index.csv: these clips, and what it listed before of other phrases or kinds."""
    path = out_dir / INDEX
    mine = {(clip.kind, _label(clip)) for clip in clips}
    kept = [row for row in read_index(out_dir) if (row["kind"], row["label"]) not in mine]
    try:
        with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, (*COLUMNS, *MORE_COLUMNS))
            writer.writeheader()
            writer.writerows([*kept, *(_row(clip, out_dir) for clip in clips)])
    except OSError as err:
        raise DataError(f"cannot write {path}: {err.strerror or err}") from err
    return path


def read_index(out_dir: Path) -> list[dict[str, str]]:
    """The rows of out_dir/index.csv; none where it is missing or is not ours."""
    try:
        with (out_dir / INDEX).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="", restkey="more")
            ours = set((*COLUMNS, *MORE_COLUMNS)) == set(reader.fieldnames or ())
            return [row for row in reader if row["kind"] in KINDS] if ours else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def known_spans(rows: Iterable[dict[str, str]]) -> dict[str, tuple[float, float]]:
    """Start and end (s) of the text, by path as the index writes it; rows without them are left out."""
    spans = {}
    for row in rows:
        try:
            spans[row["path"]] = float(row["start_s"]), float(row["end_s"])
        except ValueError:
            continue
    return spans


def _label(clip: SpokenClip) -> str:
    return clip.text if clip.kind == "phrase" else ""


def _row(clip: SpokenClip, out_dir: Path) -> dict[str, str]:
    return {
        "path": clip.path.relative_to(out_dir).as_posix(),
        "kind": clip.kind,
        "label": _label(clip),
        "split": clip.voice.split,
        "group": clip.voice.throat,
        "seconds": f"{clip.seconds:.2f}",
        "lang": clip.voice.language,
        "licence": clip.voice.licence,
        "source": clip.voice.engine,
        "start_s": f"{clip.start_s:.3f}",
        "end_s": f"{clip.end_s:.3f}",
    }
