"""Wyoming clients that stream real recordings in real time: how far behind does the server run?

    python benchmarks/streams.py out/demo/demo.wakeword ../shared/corpus/index.csv

The server is `wakeword listen MODEL --wyoming … --no-microphone`, a process of its own; the clients, the
`wyoming` package's own, share another. Each sends 80 ms every 80 ms and, behind every chunk, a ping. Events
of a client are handled in their order, so the pong comes when the chunk has been heard: its lag, both
processes and the kernel between them included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from results import provenance, update_section, write_json
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.ping import Ping
from wyoming.wake import Detect, Detection

from wakeword.audio import HOP_S, HOP_SAMPLES, SAMPLE_RATE, as_int16, read_audio
from wakeword.clips.dataset import load_background, load_clips
from wakeword.detector import load_models

START_S = 60.0
PAUSE_S = 4.0
"""Speech between two phrases."""


@dataclass
class Client:
    """One stream and what came of it."""

    pcm: list[bytes]
    lags_s: list[float] = field(default_factory=list)
    detections: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    """How late the client itself was in sending: what the machine does to every real-time program."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--mode", default="cascade")
    args = parser.parse_args()
    phrases = load_models(args.model).manifest.phrases
    n_hops = int(args.seconds / HOP_S)
    clients = [Client(build_stream(args.corpus, phrases, n_hops, seed)) for seed in range(args.clients)]
    port = free_port()
    options = [str(args.model), "--mode", args.mode, "--no-microphone"]
    with serving([*options, "--wyoming", f"tcp://127.0.0.1:{port}"], port) as server:
        before_s = cpu_seconds(server.pid)
        asyncio.run(stream_all(clients, port))
        cpu_s = cpu_seconds(server.pid) - before_s
    report(args, clients, cpu_s)


def build_stream(corpus: Path, phrases: tuple[str, ...], n_hops: int, seed: int) -> list[bytes]:
    """Hops of 16-bit PCM: test speech with a phrase every few seconds; another order for each client."""
    rng = np.random.default_rng(seed)
    speech = [c.path for c in load_background([corpus]) if c.split == "test" and c.kind == "speech"]
    spoken = [c.path for c in load_clips(corpus, phrases) if c.split == "test"]
    pieces: list[npt.NDArray[np.float32]] = []
    background = read_audio(speech[rng.integers(len(speech))])
    while sum(map(len, pieces)) < n_hops * HOP_SAMPLES:
        at = int(rng.integers(max(1, len(background) - int(PAUSE_S * SAMPLE_RATE))))
        pieces += [
            background[at : at + int(PAUSE_S * SAMPLE_RATE)],
            read_audio(spoken[rng.integers(len(spoken))]),
        ]
    samples = as_int16(np.concatenate(pieces)[: n_hops * HOP_SAMPLES])
    return [hop.tobytes() for hop in samples.reshape(-1, HOP_SAMPLES)]


@contextlib.contextmanager
def serving(
    options: Sequence[str], *ports: int, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`wakeword listen` with these options, once it serves these ports; ended by SIGTERM."""
    command = [sys.executable, "-m", "wakeword", "listen", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        deadline = time.monotonic() + START_S
        while not all(map(is_served, ports)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server does not start")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(10)


def is_served(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def stream_all(clients: list[Client], port: int) -> None:
    """All at once, begun at different moments of the hop as independent satellites would be."""
    begin_s = time.monotonic() + 1
    await asyncio.gather(
        *(stream(c, port, begin_s + i * HOP_S / len(clients)) for i, c in enumerate(clients))
    )


async def stream(client: Client, port: int, begin_s: float) -> None:
    sent_s: list[float] = []
    async with AsyncTcpClient("127.0.0.1", port) as connection:
        await connection.write_event(Detect().event())
        await connection.write_event(AudioStart(SAMPLE_RATE, 2, 1).event())
        hearing = asyncio.create_task(hear(client, connection, sent_s))
        for i, pcm in enumerate(client.pcm):
            await asyncio.sleep(max(0.0, begin_s + i * HOP_S - time.monotonic()))
            sent_s.append(time.monotonic())
            client.late_s.append(sent_s[-1] - begin_s - i * HOP_S)
            timestamp = round(1000 * i * HOP_S)
            await connection.write_event(AudioChunk(SAMPLE_RATE, 2, 1, pcm, timestamp).event())
            await connection.write_event(Ping(str(i)).event())
        await connection.write_event(AudioStop().event())
        await hearing


async def hear(client: Client, connection: AsyncTcpClient, sent_s: list[float]) -> None:
    """Take detections and pongs until the last of them."""
    while len(client.lags_s) < len(client.pcm):
        event = await connection.read_event()
        if event is None:
            raise SystemExit("the server hung up")
        if event.type == "pong":
            client.lags_s.append(time.monotonic() - sent_s[int(event.data["text"])])
        elif Detection.is_type(event.type):
            client.detections.append(str(Detection.from_event(event).name))


def report(args: argparse.Namespace, clients: list[Client], cpu_s: float) -> None:
    lags = 1000 * np.concatenate([client.lags_s for client in clients])
    late = 1000 * np.concatenate([client.late_s for client in clients])
    p50, p95, p99 = np.percentile(lags, [50, 95, 99])
    n_detections = sum(len(client.detections) for client in clients)
    figures = {
        "clients": len(clients), "seconds": args.seconds, "mode": args.mode, "lag_p50_ms": p50,
        "lag_p95_ms": p95, "lag_p99_ms": p99, "lag_max_ms": lags.max(), "detections": n_detections,
        "sender_late_p99_ms": np.percentile(late, 99), "server_core_share": cpu_s / args.seconds,
    }  # fmt: skip
    write_json("streams", {k: round(float(v), 4) if k not in ("mode",) else v for k, v in figures.items()})
    lines = [
        f"{len(clients)} Wyoming clients, {args.seconds:g} s each in real time, mode {args.mode}: "
        f"{n_detections} detections.",
        "",
        "| lag of a chunk (80 ms), from sending it to its answer | ms |",
        "|---|--:|",
        f"| median | {p50:.1f} |",
        f"| p95 | {p95:.1f} |",
        f"| **p99** (goal: at most 100) | **{p99:.1f}** |",
        f"| worst | {lags.max():.1f} |",
        f"| p99 of how late the clients themselves sent | {np.percentile(late, 99):.1f} |",
        "",
        f"The server took {100 * cpu_s / args.seconds:.0f} % of one core.",
    ]
    print("\n".join(lines))
    update_section(
        "streams", "## Many streams\n\n" + provenance(("wyoming", "onnxruntime")) + "\n\n" + "\n".join(lines)
    )


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
