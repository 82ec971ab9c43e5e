"""Files that appear whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.lib.npyio import NpzFile

from wakeword.errors import DataError

Seal: TypeAlias = tuple[int, int, int]
ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
)
"""What reading a damaged zip, or the arrays in one, may raise."""


def seal_of(path: Path) -> Seal:
    """Changes when the file does: inode, size, time in ns; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def load_arrays(path: str | os.PathLike[str], most: int) -> NpzFile:
    """Open an .npz; what reading it may raise is in ZIP_FAULTS.

    ValueError where it would take more than `most` bytes unpacked: a small file can be a bomb.
    """
    # From memory: numpy leaves a file that it cannot read open.
    data = io.BytesIO(Path(path).read_bytes())
    with zipfile.ZipFile(data) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > most:
        raise ValueError(f"it would take {size:,} bytes in memory; {most:,} at most")
    data.seek(0)
    arrays: NpzFile = np.load(data, allow_pickle=False)
    return arrays


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary name beside `target` to write to; the block's end renames it, its failure removes it.

    OSError passes through, from the block and from the renaming.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        yield partial
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, making the folder it goes to; DataError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            writer.writerows(rows)
    except OSError as err:
        raise DataError(f"cannot write {path}: {err.strerror or err}") from err
