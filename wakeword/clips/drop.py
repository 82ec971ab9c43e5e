"""A list of what must not be learnt from: whole recordings, or stretches of long ones.

A CSV with the columns path, start_s, end_s; both times empty mean the whole file. Paths are absolute or
relative to the list. `wakeword check --drop-list` writes one; anybody may edit it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.clips.augment import FADE_SAMPLES
from wakeword.clips.dataset import Clip
from wakeword.errors import DataError
from wakeword.files import write_csv

COLUMNS = ("path", "start_s", "end_s")


@dataclass(frozen=True)
class DropList:
    """What to leave out."""

    files: frozenset[Path]
    """Whole recordings, resolved."""
    stretches: Mapping[Path, Sequence[tuple[float, float]]]
    """Seconds from and to, of recordings that are kept otherwise."""

    def keep(self, clips: Sequence[Clip]) -> list[Clip]:
        """The clips that are not dropped as a whole."""
        return [clip for clip in clips if clip.path.resolve() not in self.files]

    def mute(self, path: Path, samples: Samples) -> Samples:
        """The recording [N] with its dropped stretches silent (10 ms fades): what follows keeps its time."""
        stretches = self.stretches.get(path.resolve(), ())
        if not stretches:
            return samples
        level = np.ones(len(samples), dtype=np.float32)
        for start_s, end_s in stretches:
            first, last = max(0, int(start_s * SAMPLE_RATE)), min(len(samples), int(end_s * SAMPLE_RATE))
            if first < last:
                _silence(level, first, last)
        return np.asarray(samples * level)


NOTHING = DropList(frozenset(), {})


def _silence(level: Samples, first: int, last: int) -> None:
    before, after = min(FADE_SAMPLES, first), min(FADE_SAMPLES, len(level) - last)
    level[first - before : first] *= np.linspace(1, 0, before, dtype=np.float32)
    level[first:last] = 0
    level[last : last + after] *= np.linspace(0, 1, after, dtype=np.float32)


def read_drop_list(path: Path) -> DropList:
    """Read a list; DataError says which line is wrong."""
    files, stretches = set[Path](), dict[Path, list[tuple[float, float]]]()
    for line, row in _rows(path):
        if "\0" in row["path"]:
            raise DataError(f"{path}, line {line}: no file has a name with a zero byte in it")
        target = (path.parent / row["path"]).resolve()
        if not (row["start_s"] or row["end_s"]):
            files.add(target)
            continue
        try:
            start_s, end_s = float(row["start_s"]), float(row["end_s"])
        except ValueError as err:
            raise DataError(
                f"{path}, line {line}: from {row['start_s']!r} to {row['end_s']!r}; give seconds or neither"
            ) from err
        if not 0 <= start_s < end_s < math.inf:
            raise DataError(f"{path}, line {line}: from {start_s:g} to {end_s:g} s is no stretch of time")
        stretches.setdefault(target, []).append((start_s, end_s))
    return DropList(frozenset(files), stretches)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: no column {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
            return [
                (reader.line_num, {name: row[name].strip() for name in COLUMNS})
                for row in reader
                if row["path"]
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{path}: not a readable drop list ({err})") from err


def write_drop_list(path: Path, drops: Iterable[tuple[Path, float | None, float | None]]) -> None:
    """Write (recording, from, to); None for the whole recording."""
    rows = ((recording.resolve(), *span_text(start_s, end_s)) for recording, start_s, end_s in drops)
    write_csv(path, COLUMNS, rows)


def span_text(start_s: float | None, end_s: float | None) -> tuple[str, str]:
    """A stretch as a list has it: "12.30", or nothing for a whole recording."""
    start, end = ("" if s is None else f"{s:.2f}" for s in (start_s, end_s))
    return start, end
