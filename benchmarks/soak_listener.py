"""The real `wakeword listen` under a soak: one process, fed through a pipe, watched from outside."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost_systems import resident_bytes

from wakeword.audio import SAMPLE_RATE, Samples, as_float, as_int16

HELD_SAMPLES = SAMPLE_RATE
"""Sound that a process may have read, but not yet heard, when it is killed; and events not yet printed."""
END_S = 120.0


@dataclass(frozen=True)
class Told:
    """A line of JSON that it printed."""

    at_s: float
    """By the monotonic clock."""
    phrase: str
    time_s: float
    score: float
    stream: str
    number: int
    at: str
    """By its own clock."""


@dataclass(frozen=True)
class State:
    """What the process takes."""

    at_s: float
    rss_mb: float
    files: int
    threads: int


class Listening:
    """One life of the process; sound goes in as fast as it is heard, or `speed` times real time."""

    def __init__(self, config: Path, sound: Iterable[Samples], clock: Clock, speed: float = 1e9) -> None:
        self.told: list[Told] = []
        self.states: list[State] = []
        self.sent = 0
        """Samples written to the pipe."""
        self._sound, self._speed = sound, speed
        self._stopping = threading.Event()
        self._log = config.with_name("stderr.txt").open("ab")
        command = [sys.executable, "-m", "wakeword", "listen", "--config", str(config), "--file", "-"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=clock.env
        )
        self.pid = self.process.pid
        jobs = (self._feed, self._read, self._sample)
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()

    def finish(self) -> int:
        """End the sound, let it hear that out; its exit code."""
        self._stopping.set()
        return self._ended()

    def kill(self) -> int:
        """Kill -9; samples that it has certainly heard."""
        self.process.kill()
        return self.after_death()

    def after_death(self) -> int:
        """Of a process that was killed: samples that it has certainly heard."""
        self.process.wait(END_S)
        assert self.process.stdin
        (left,) = struct.unpack("i", fcntl.ioctl(self.process.stdin, termios.FIONREAD, struct.pack("i", 0)))
        self._stopping.set()
        self._ended()
        return max(0, self.sent - left // 2 - HELD_SAMPLES)

    def _ended(self) -> int:
        code = self.process.wait(END_S)
        for thread in self._threads:
            thread.join(10)
        self._log.close()
        return code

    def _feed(self) -> None:
        assert self.process.stdin
        began_s = time.monotonic()
        with suppress(BrokenPipeError):
            for block in self._sound:
                if self._stopping.is_set() or self.process.poll() is not None:
                    break
                data = as_int16(block).astype("<i2").tobytes()
                os.write(self.process.stdin.fileno(), data)
                self.sent += len(block)
                if (ahead_s := self.sent / SAMPLE_RATE / self._speed - (time.monotonic() - began_s)) > 0:
                    time.sleep(ahead_s)
        self._stopping.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            found = json.loads(line)
            names = ("phrase", "time_s", "score", "stream", "number", "at")
            self.told.append(Told(time.monotonic(), *(found[name] for name in names)))

    def _sample(self) -> None:
        while not self._stopping.wait(1.0):
            with suppress(OSError):
                self.states.append(state(self.pid))


class Clock:
    """The clock on the wall of the processes that run with `env`; see clock_shift.c."""

    def __init__(self, folder: Path) -> None:
        library, self._shift = folder / "clock_shift.so", folder / "clock_shift"
        self._shift.write_bytes(struct.pack("q", 0))
        source = Path(__file__).with_name("clock_shift.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        self.env = os.environ | {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._shift)}

    def set(self, ahead_s: int) -> None:
        """So far ahead of everybody else's (negative: behind)."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("q", ahead_s))


def state(pid: int) -> State:
    """Memory, open files and threads now."""
    proc = Path(f"/proc/{pid}")
    counts = (len(list((proc / name).iterdir())) for name in ("fd", "task"))
    return State(time.monotonic(), resident_bytes(pid) / 1e6, *counts)


def as_sent(sound: Iterable[Samples], n_samples: int) -> Iterator[Samples]:
    """The first so many samples as the process gets them."""
    for block in sound:
        yield as_float(as_int16(block[:n_samples]))
        if (n_samples := n_samples - len(block)) <= 0:
            return


def configuration(model: Path, saved: Path, **ports: Any) -> str:
    """listen.toml: clips are saved, all is watched; a broker and a Wyoming server where ports are given."""
    text = (
        f'[[models]]\npath = "{model}"\n[output]\nformat = "json"\n'
        f'[save]\nfolder = "{saved}"\nmax_mb = 1000.0\nmax_days = 10000.0\n'
    )
    if "mqtt" in ports:
        text += f'[mqtt]\nhost = "127.0.0.1"\nport = {ports["mqtt"]}\n'
    if "wyoming" in ports:
        text += f'[wyoming]\nuri = "tcp://127.0.0.1:{ports["wyoming"]}"\n'
    return text
