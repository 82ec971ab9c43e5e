"""A listener whose ports are stormed: does it still hear, and is it the same afterwards?

    python benchmarks/hostile_network.py out/demo/demo.wakeword RECORDING [--connections 2000]

A real `wakeword listen` serves Wyoming and the web page. Connections come by the thousand: silent ones, ones
that send a letter a second, half requests, noise, endless lines, ones that hang up at once. Meanwhile a
satellite streams RECORDING over Wyoming; its detections must be those of a quiet run, /health must answer,
and memory and open files must be back where they were.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cost_systems import resident_bytes
from results import provenance, update_section
from streams import free_port, serving
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.wake import Detection

from wakeword.audio import SAMPLE_RATE, as_int16, read_audio

CHUNK = SAMPLE_RATE // 10
AT_ONCE = 250
"""Hostile connections that are open at a time."""
HOLD_S = 3.0
SETTLE_S = 15.0
MORE_MB, MORE_FILES = 40.0, 8
"""By which the process may have grown afterwards."""
Pcm = npt.NDArray[np.int16]
Told = tuple[str | None, int | None]
"""Phrase and time of a detection."""
KINDS = ("silent", "slow", "half", "noise", "endless", "gone")


@dataclass(frozen=True)
class State:
    """Of the listening process."""

    rss_mb: float
    files: int


def main() -> int:
    """Quiet run, storm, figures; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--connections", type=int, default=2000)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as folder:
        wyoming, web = free_port(), free_port()
        config = Path(folder) / "listen.toml"
        config.write_text(configuration(arguments.model, wyoming, web), encoding="utf-8")
        with serving(["--config", str(config)], wyoming, web, stderr=subprocess.DEVNULL) as process:
            pcm = as_int16(read_audio(arguments.recording))
            quiet = asyncio.run(satellite(wyoming, pcm))
            before, start = state(process.pid), time.monotonic()
            stormed, counts, slowest_s = asyncio.run(storm(wyoming, web, pcm, arguments.connections))
            took_s = time.monotonic() - start
            time.sleep(SETTLE_S)
            after, alive = state(process.pid), process.poll() is None
            again = asyncio.run(satellite(wyoming, pcm))
    code = process.returncode
    grown = State(after.rss_mb - before.rss_mb, after.files - before.files)
    same = quiet == stormed == again
    kinds = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    during = f"{len(stormed)}{'' if same else ', **others**'}"
    good = same and alive and code == 0 and grown.rss_mb <= MORE_MB and grown.files <= MORE_FILES
    body = f"""## Hostile network

{provenance(())}

{sum(counts.values()):,} hostile connections in {took_s:.0f} s, {AT_ONCE} at a time, half to Wyoming and half
to the web page ({kinds}), while a satellite streamed {len(pcm) / SAMPLE_RATE:.0f} s.

| | before | during | after |
|---|--:|--:|--:|
| events that the satellite got | {len(quiet)} | {during} | {len(again)} |
| slowest answer of /health | | {slowest_s:.2f} s | |
| memory (RSS) | {before.rss_mb:.0f} MB | | {after.rss_mb:.0f} MB |
| open files | {before.files} | | {after.files} |

The process {"ended by its signal with code 0" if code == 0 else f"**ended with code {code}**"}.
"""
    update_section("hostile network", body)
    print(body)
    return 0 if good else 1


def configuration(model: Path, wyoming: int, web: int) -> str:
    """listen.toml of a listener that serves both."""
    return (
        f'[[models]]\npath = "{model.resolve()}"\n[microphone]\nenabled = false\n'
        f'[wyoming]\nuri = "tcp://127.0.0.1:{wyoming}"\nmax_clients = 512\n'
        f"[web]\nenabled = true\nport = {web}\n"
    )


async def satellite(port: int, samples: Pcm) -> list[Told]:
    """What a satellite that streams the recording is told."""
    heard = list[Told]()
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{port}") as client:
        await client.write_event(AudioStart(rate=SAMPLE_RATE, width=2, channels=1).event())

        async def take() -> None:
            while (event := await client.read_event()) is not None:
                if Detection.is_type(event.type):
                    found = Detection.from_event(event)
                    heard.append((found.name, found.timestamp))

        taking = asyncio.create_task(take())
        for at in range(0, len(samples), CHUNK):
            chunk = samples[at : at + CHUNK].tobytes()
            ms = round(1000 * at / SAMPLE_RATE)
            await client.write_event(AudioChunk(SAMPLE_RATE, 2, 1, chunk, timestamp=ms).event())
            await asyncio.sleep(0.02)  # five times real time
        await client.write_event(AudioStop().event())
        await asyncio.sleep(5)
        taking.cancel()
    return heard


async def storm(wyoming: int, web: int, pcm: Pcm, n: int) -> tuple[list[Told], dict[str, int], float]:
    """(what the satellite was told, hostile connections by kind, slowest answer of /health in s)."""
    listening = asyncio.create_task(satellite(wyoming, pcm))
    health = asyncio.create_task(ask_health(web))
    room, rng, counts = asyncio.Semaphore(AT_ONCE), random.Random(1), dict.fromkeys(KINDS, 0)

    async def one(i: int) -> None:
        kind = KINDS[i % len(KINDS)]
        async with room:
            counts[kind] += 1
            await attack(kind, wyoming if i // len(KINDS) % 2 else web, rng)

    await asyncio.gather(*(one(i) for i in range(n)))
    heard = await listening
    health.cancel()
    return heard, counts, max(await health, default=float("nan"))


async def attack(kind: str, port: int, rng: random.Random) -> None:
    """One hostile connection; that it is cut off is what is hoped for."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    try:
        if kind == "slow":
            for letter in b"GET":
                writer.write(bytes([letter]))
                await asyncio.sleep(1)
        elif kind == "half":
            writer.write(b'{"type": "audio-chunk", "payload_length": 100000}\n' + bytes(1000))
        elif kind == "noise":
            writer.write(rng.randbytes(5000))
        elif kind == "endless":
            for _ in range(100):
                writer.write(b"x" * 10_000)
                await writer.drain()
        if kind != "gone":
            await asyncio.wait_for(reader.read(100), HOLD_S)
    except (OSError, asyncio.TimeoutError):
        pass
    finally:
        writer.transport.abort()


async def ask_health(port: int) -> list[float]:
    """Seconds that each answer of /health took, until cancelled."""
    took, url = list[float](), f"http://127.0.0.1:{port}/health"
    try:
        while True:
            start = time.monotonic()
            await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=20).read())
            took.append(time.monotonic() - start)
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        return took


def state(pid: int) -> State:
    """Memory and open files of a process."""
    return State(resident_bytes(pid) / 1e6, len(list(Path(f"/proc/{pid}/fd").iterdir())))


if __name__ == "__main__":
    sys.exit(main())
