"""What goes wrong around a listener during a soak; each fault takes some seconds and is undone again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from soak_listener import Clock, Listening, Told
from wyoming.audio import AudioChunk, AudioStart
from wyoming.client import AsyncTcpClient
from wyoming.ping import Ping

import wakeword
from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE, Samples, as_float, as_int16

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))  # the broker as the tests start it
from broker import Broker

DISK_MB = 512
BUSY = "while True: pass"
JUMPS_S = (-400 * 86_400, -86_400, -3_600, 3_600, 86_400, 400 * 86_400)


@dataclass(frozen=True)
class Fault:
    """One that was made."""

    kind: str
    begun_s: float
    ended_s: float


@dataclass(frozen=True)
class Cut:
    """A satellite that streamed so much and hung up in the middle of a chunk."""

    stream: str
    expected: list[tuple[str, float]]


@dataclass
class Faults:
    """Makes them to one listener."""

    listening: Listening
    model: Path
    """The copy that it listens with."""
    config: Path
    clock: Clock
    saved: Path
    broker: Broker
    wyoming: int
    """Port."""
    piece: Callable[[random.Random], Samples]
    """Sound for a satellite."""
    rng: random.Random
    made: list[Fault] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)

    def run(self, seconds: float, pause_s: float) -> None:
        """One after the other, every kind equally often, in random order."""
        until, waiting = time.monotonic() + seconds, list[str]()
        while time.monotonic() < until:
            if not waiting:
                waiting = list(KINDS)
                self.rng.shuffle(waiting)
            kind, begun_s = waiting.pop(), time.monotonic()
            KINDS[kind](self)
            self.made.append(Fault(kind, begun_s, time.monotonic()))
            time.sleep(self.rng.uniform(0.5, 1.5) * pause_s)
        self.clock.set(0)

    def clock_jump(self) -> None:
        """The clock on the wall is set, back or forward, up to 400 days."""
        self.clock.set(self.rng.choice(JUMPS_S))

    def sleep(self) -> None:
        """Stopped and continued, as a computer that sleeps."""
        os.kill(self.listening.pid, signal.SIGSTOP)
        time.sleep(self.rng.uniform(1, 6))
        os.kill(self.listening.pid, signal.SIGCONT)

    def starve(self) -> None:
        """One processor, which a busier program has too."""
        allowed = os.sched_getaffinity(self.listening.pid)
        one = {self.rng.choice(sorted(allowed))}
        _pin(self.listening.pid, one)
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
        for process in busy:
            os.sched_setaffinity(process.pid, one)
        time.sleep(self.rng.uniform(1, 4))
        for process in busy:
            process.kill()
            process.wait()
        _pin(self.listening.pid, allowed)

    def full_disk(self) -> None:
        """Not a byte is left where clips are saved."""
        filler = self.saved.parent / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        time.sleep(self.rng.uniform(2, 5))
        filler.unlink()

    def broker_restart(self) -> None:
        """The broker goes and comes; at times the clock is set meanwhile."""
        self.broker.stop(signal.SIGTERM)
        time.sleep(self.rng.uniform(0.2, 1.5))
        if self.rng.random() < 0.5:
            self.clock_jump()
        time.sleep(self.rng.uniform(0.2, 1.0))
        self.broker.start()

    def reload_storm(self) -> None:
        """SIGHUP again and again; the model's file replaced by its like; settings broken and mended."""
        good = self.config.read_text(encoding="utf-8")
        for i in range(24):
            if i % 8 == 2:
                self.config.write_text("[[models", encoding="utf-8")
            elif i % 8 == 4:
                self.config.write_text(good, encoding="utf-8")
            elif i % 8 == 6:
                copy = self.model.with_name("new")
                shutil.copyfile(self.model, copy)
                copy.replace(self.model)
            os.kill(self.listening.pid, signal.SIGHUP)
            time.sleep(self.rng.uniform(0, 0.15))

    def satellite_lost(self) -> None:
        """A satellite streams, and vanishes in the middle of a chunk."""
        asyncio.run(self._satellite(self.piece(self.rng)))

    async def _satellite(self, samples: Samples) -> None:
        pcm = as_int16(samples)
        client = AsyncTcpClient("127.0.0.1", self.wyoming)
        async with client:
            await client.write_event(AudioStart(SAMPLE_RATE, 2, 1).event())
            for i in range(0, len(pcm), HOP_SAMPLES):
                chunk = pcm[i : i + HOP_SAMPLES].astype("<i2").tobytes()
                stamp = round(1000 * i / SAMPLE_RATE)
                await client.write_event(AudioChunk(SAMPLE_RATE, 2, 1, chunk, timestamp=stamp).event())
            await client.write_event(Ping("heard").event())
            while (event := await client.read_event()) is not None and event.type != "pong":
                pass
            assert client._writer is not None and event is not None, "the server hung up"
            host, port = client._writer.get_extra_info("sockname")[:2]
            client._writer.write(
                json.dumps({"type": "audio-chunk", "payload_length": 2560}).encode() + b"\n1234"
            )
            await client._writer.drain()
            client._writer.transport.abort()
        expected = [(e.phrase, round(e.time_s, 4)) for e in wakeword.load(self.model).feed(as_float(pcm))]
        self.cuts.append(Cut(f"{host}:{port}", expected))


KINDS: dict[str, Callable[[Faults], None]] = {
    "clock set": Faults.clock_jump,
    "stopped and continued": Faults.sleep,
    "processor taken": Faults.starve,
    "disk full": Faults.full_disk,
    "broker restarted": Faults.broker_restart,
    "reload storm": Faults.reload_storm,
    "satellite lost": Faults.satellite_lost,
}


def _pin(pid: int, processors: set[int]) -> None:
    """All its threads."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            os.sched_setaffinity(int(task.name), processors)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, in memory, that can be filled; needs root."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)],
        check=True,
        capture_output=True,
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Subscriber:
    """Somebody at the broker who gets what came while he was away, too."""

    def __init__(self, port: int) -> None:
        import paho.mqtt.client as mqtt

        self.numbers: set[int] = set()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="soak", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda *_: self._client.subscribe("wakeword/#", qos=1)
        self._client.on_message = lambda _c, _d, message: self._take(message.payload)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, payload: bytes) -> None:
        if b"event_type" in payload:
            self.numbers.add(int(json.loads(payload)["number"]))

    def close(self) -> None:
        """Hang up."""
        self._client.disconnect()
        self._client.loop_stop()


def half_files(saved: Path) -> tuple[list[str], int]:
    """(files of a folder of clips that are not whole, sounds without a description)."""
    import soundfile

    bad, alone = [path.name for path in saved.iterdir() if path.name.endswith(".part")], 0
    for path in saved.glob("*.wav"):
        about = path.with_suffix(".json")
        try:
            n_samples = soundfile.info(path).frames
            alone += not about.exists()
            said = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
            if abs(said.get("seconds", n_samples / SAMPLE_RATE) * SAMPLE_RATE - n_samples) > 1:
                bad.append(path.name)
        except (soundfile.LibsndfileError, ValueError):
            bad.append(path.name)
    bad += [path.name for path in saved.glob("*.json") if not path.with_suffix(".wav").exists()]
    return bad, alone


def saved_numbers(saved: Path) -> set[int]:
    """Of the detections whose clip is there."""
    return {int(path.stem.rpartition("-")[2]) for path in saved.glob("*.json")}


def during(kind: str, made: list[Fault], one: Told, after_s: float) -> bool:
    """True where a detection was told while such a fault lasted, or little before or after."""
    return any(f.begun_s - 1.0 <= one.at_s <= f.ended_s + after_s for f in made if f.kind == kind)


def murmur(seconds: float, rng: random.Random) -> Samples:
    """Quiet hiss, for between things."""
    generator = np.random.default_rng(rng.randrange(1 << 30))
    return (generator.standard_normal(int(seconds * SAMPLE_RATE)) / 1_000).astype(np.float32)
