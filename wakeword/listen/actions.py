"""Commands and sounds on detections: child processes with a time limit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples, write_wav
from wakeword.errors import WakewordError
from wakeword.listen.events import Heard
from wakeword.listen.settings import CommandSettings, SoundSettings
from wakeword.listen.worker import Group, Worker

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

PLAYERS = (("pw-play",), ("paplay",), ("aplay", "-q"), ("afplay",))
"""Programs that play a WAV file named last."""
GRACE_S = 1.0
"""Between the request to end and the kill."""
POLL_S = 0.05
QUEUE_EVENTS = 8


def start_commands(listener: Listener) -> Group:
    """Run a command on each detection of its phrases."""
    return Group(*(_command(listener, settings) for settings in listener.settings.commands))


def _command(listener: Listener, settings: CommandSettings) -> Worker:
    command = settings.command or ("/bin/sh", "-c", settings.shell)
    name = f"command {Path(settings.command[0]).name if settings.command else settings.shell!r}"
    return _worker(listener, name, settings, command)


def start_sounds(listener: Listener) -> Group:
    """Play a sound on each detection of its phrases; WakewordError where no program can play one."""
    player = next((p for p in PLAYERS if shutil.which(p[0])), None)
    if player is None:
        raise WakewordError(f"nothing here plays sounds; install one of {', '.join(p[0] for p in PLAYERS)}")
    chime = _Chime()
    files = [
        listener.folder / Path(settings.file).expanduser() if settings.file else chime.path
        for settings in listener.settings.sounds
    ]
    if missing := [file for file in files if not file.is_file()]:
        raise WakewordError(f"no such file: {missing[0]}")
    workers = [
        _worker(listener, f"sound {file.name}", settings, (*player, str(file)))
        for file, settings in zip(files, listener.settings.sounds, strict=True)
    ]
    return Group(*workers, chime)


def _worker(
    listener: Listener, name: str, settings: CommandSettings | SoundSettings, command: Sequence[str]
) -> Worker:
    def handle(heard: Heard) -> None:
        run_command(command, environment(heard), settings.timeout_s, worker.closing)

    worker = Worker(listener.hub, name, handle, settings.phrases, size=QUEUE_EVENTS)
    return worker


def environment(heard: Heard) -> dict[str, str]:
    """What a command is told: WAKEWORD_PHRASE, _SCORE, _THRESHOLD, _TIME_S, _AT, _MODEL, _STREAM, _NUMBER."""
    return {f"WAKEWORD_{key.upper()}": str(value) for key, value in heard.as_dict().items()}


def run_command(
    command: Sequence[str], more: Mapping[str, str], timeout_s: float, closing: threading.Event
) -> None:
    """Run a program to its end. WakewordError where it is missing, fails, or had to be killed.

    Args:
        command: program and arguments.
        more: added to our environment.
        timeout_s: after this long it is killed, with everything it started.
        closing: once set, it has one second left.
    """
    with tempfile.TemporaryFile() as errors:  # not a pipe: its grandchildren would keep that open
        try:
            process = subprocess.Popen(
                command,
                env={**os.environ, **more},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        except (OSError, ValueError) as err:
            raise WakewordError(f"cannot run {command[0]!r} ({getattr(err, 'strerror', err)})") from err
        if not _ends(process, time.monotonic() + timeout_s, closing):
            _kill(process)
            raise WakewordError(f"{command[0]!r} had not ended after {timeout_s:g} s and was killed")
        if process.returncode:
            said = _last_line(errors)
            raise WakewordError(f"{command[0]!r} ended with status {process.returncode}{said}")


def _ends(process: subprocess.Popen[Any], deadline: float, closing: threading.Event) -> bool:
    while process.poll() is None:
        if closing.is_set():
            deadline = min(deadline, time.monotonic() + GRACE_S)
            closing = threading.Event()
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _kill(process: subprocess.Popen[Any]) -> None:
    """End its whole group, by request and then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    # The leader may have ended on request while others of the group did not.
    process.wait()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 400))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""


class _Chime:
    """Our own sound as a file, until closed."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="wakeword-"))
        self.path = self._folder / "chime.wav"
        write_wav(self.path, chime())

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def chime() -> Samples:
    """Two soft rising notes, a quarter of a second [n]."""
    t = np.arange(int(0.125 * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.sin(np.pi * t / t[-1]) ** 0.5
    notes = [0.3 * fade * np.sin(2 * np.pi * hz * t) for hz in (880.0, 1318.5)]
    return np.concatenate(notes).astype(np.float32)
