"""Keeps the sound around each detection: a WAV and a JSON file each, for retraining. Off unless asked for."""

from __future__ import annotations

import json
import logging
import re
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import wakeword
from wakeword.audio import SAMPLE_RATE
from wakeword.errors import WakewordError
from wakeword.files import written_whole
from wakeword.listen.events import Clip, Heard
from wakeword.listen.settings import SaveSettings
from wakeword.listen.worker import Worker

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

OURS = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[\w-]+-\d+\.(wav|json)")
"""Names of files that may be removed."""
PARTLY = re.compile(rf"\.{OURS.pattern}\.part")
"""Names of what was being written by a listener that was killed."""
PARTLY_S = 60.0
"""Older than this, nobody writes it any more."""
MB = 1_000_000
DAY_S = 86_400.0

log = logging.getLogger(__name__)


def start(listener: Listener) -> Worker:
    """Save from now on; WakewordError where the folder cannot be made."""
    settings = listener.settings.save
    folder = listener.folder / Path(settings.folder).expanduser()
    log.warning("saving the sound around each detection in %s", folder)
    return Worker(listener.hub, "save", Saver(folder, settings), settings.phrases, Clip, size=16)


class Saver:
    """Writes clips into a folder that never holds more than it may."""

    def __init__(self, folder: Path, settings: SaveSettings) -> None:
        """Make the folder, for its owner alone; WakewordError where that fails."""
        self._folder, self._max_bytes = folder, int(settings.max_mb * MB)
        self._max_age_s = settings.max_days * DAY_S
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as err:
            raise WakewordError(f"cannot make {folder}: {err.strerror}") from err
        self._make_room(0)

    def __call__(self, clip: Clip) -> None:
        """Write one clip: first the WAV, then the JSON that makes it count."""
        sound, about = clip.wav(), json.dumps(describe(clip), indent=1) + "\n"
        self._make_room(len(sound) + len(about))
        stem = file_stem(clip.heard)
        self._write(f"{stem}.wav", sound)
        try:
            self._write(f"{stem}.json", about.encode())
        except WakewordError:
            (self._folder / f"{stem}.wav").unlink(missing_ok=True)
            raise

    def _write(self, name: str, data: bytes) -> None:
        """Whole or not at all."""
        try:
            with written_whole(self._folder / name) as partial:
                partial.write_bytes(data)
        except OSError as err:
            raise WakewordError(f"cannot write to {self._folder}: {err.strerror}") from err

    def _make_room(self, n_bytes: int) -> None:
        """Remove our files that are too old, and the oldest until so many bytes fit."""
        for path in left_partly(self._folder, PARTLY_S):
            path.unlink(missing_ok=True)
        states = {path: path.stat() for path in saved_files(self._folder)}
        total = sum(state.st_size for state in states.values()) + n_bytes
        oldest = time.time() - self._max_age_s
        for path, state in sorted(states.items()):
            if total > self._max_bytes or state.st_mtime < oldest:
                path.unlink(missing_ok=True)
                total -= state.st_size


def saved_files(folder: Path) -> list[Path]:
    """The files in a folder that a listener saved there; links and folders of such a name are none."""
    try:
        return [p for p in folder.iterdir() if OURS.fullmatch(p.name) and p.is_file() and not p.is_symlink()]
    except OSError as err:
        raise WakewordError(f"cannot read {folder}: {err.strerror}") from err


def left_partly(folder: Path, older_than_s: float = 0.0) -> list[Path]:
    """What listeners that were killed, or lost power, left half-written in a folder."""
    found, now = list[Path](), time.time()
    for path in folder.iterdir():
        if PARTLY.fullmatch(path.name):
            with suppress(FileNotFoundError):  # it was just finished
                # Nor is it new where it seems to come from the future: the clock was set back.
                if abs(now - path.lstat().st_mtime) >= older_than_s:
                    found.append(path)
    return found


def file_stem(heard: Heard) -> str:
    """`20261125T201123.123Z-hey_nova-17`: sorts by time."""
    when = datetime.fromtimestamp(heard.at, timezone.utc).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    phrase = re.sub(r"\W+", "_", heard.detection.phrase)
    return f"{when}Z-{phrase}-{heard.number}"


def describe(clip: Clip) -> dict[str, str | float | int]:
    """What the JSON file says: the detection, and where in the clip it fired."""
    return clip.heard.as_dict() | {
        "fired_at_s": round(clip.heard.detection.time_s - clip.begins_s, 4),
        "seconds": round(clip.seconds, 4),
        "sample_rate": SAMPLE_RATE,
        "wakeword_version": wakeword.__version__,
    }
