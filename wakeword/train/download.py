"""Fetching one published file: resumed where it broke off, checked, and never left half-written."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from wakeword.errors import EncoderError

Report = Callable[[int, "int | None"], None]
"""Called with the bytes here so far, and the bytes in all where the server says."""

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _sum_like(expected: str, path: Path) -> str:
    """Checksum of a file, of the kind and written as `expected` is: SHA-256, or MD5 as "md5:..."."""
    if not expected.startswith("md5:"):
        return sha256_of(path)
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return f"md5:{digest.hexdigest()}"


def fetch(url: str, checksum: str, target: Path, progress: Report | None = None) -> Path:
    """Download `url` to `target` unless the right file is there already; return `target`.

    `checksum` is a SHA-256 in hex, or "md5:" and that where the publisher gives nothing better. A broken
    download is kept as `.NAME.part` and resumed by the next call. Without `progress`, a bar is drawn where
    standard error is a terminal. Raises EncoderError when the server cannot be reached or refuses, the
    connection breaks, the content is not what `checksum` says, or the disk cannot take it.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        if target.is_file() and _sum_like(checksum, target) == checksum:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with _reporting(target.name, progress) as report:
            _download(url, partial, report)
        if (got := _sum_like(checksum, partial)) != checksum:
            partial.unlink()
            kind = "MD5" if checksum.startswith("md5:") else "SHA-256"
            raise EncoderError(f"{url}: content has {kind} {got}, expected {checksum}; not kept, try again")
        partial.replace(target)
    except OSError as err:
        raise EncoderError(f"cannot write {target}: {err.strerror or err}") from err
    return target


def _download(url: str, partial: Path, report: Report) -> None:
    """Bring `partial` to full length, from where it stands."""
    have = partial.stat().st_size if partial.is_file() else 0
    with _open(url, have) as response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with partial.open("ab" if resumed else "wb") as file:
            for chunk in _chunks(response, url):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
    if total is not None and done < total:
        raise EncoderError(f"{url}: connection closed after {done} of {total} bytes; run it again to resume")


def _open(url: str, have: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        return response
    except urllib.error.HTTPError as err:
        err.close()
        if have and err.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _open(url, 0)  # what is here is as long as the file, or longer: not to be trusted
        raise EncoderError(f"{url}: the server answered {err.code} {err.reason}") from err
    except (OSError, http.client.HTTPException) as err:
        reason = getattr(err, "reason", err)
        raise EncoderError(f"cannot reach {url} ({reason}); this machine may be offline") from err


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as err:
            raise EncoderError(f"{url}: connection lost ({err}); run it again to resume") from err
        if not chunk:
            return
        yield chunk


@contextmanager
def _reporting(name: str, progress: Report | None) -> Iterator[Report]:
    """The caller's callback, or a bar on standard error where that is a terminal."""
    if progress is not None:
        yield progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
