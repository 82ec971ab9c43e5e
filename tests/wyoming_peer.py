"""What the tests of the Wyoming server share: a server, and the real client's side of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tiny import sounds
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.ping import Ping, Pong
from wyoming.wake import Detection, NotDetected

from wakeword.audio import SAMPLE_RATE, Samples, as_int16
from wakeword.listen.listener import Listener
from wakeword.listen.settings import ListenSettings, ModelSettings, WyomingSettings
from wakeword.listen.wyoming_server import WyomingServer

SOUND = sounds(8.0, seed=3)


def a_listener(model: Path, uri: str = "tcp://127.0.0.1:0") -> Listener:
    """With a Wyoming server in its settings, which serves ten clients."""
    wyoming = WyomingSettings(uri=uri, max_clients=10)
    return Listener(ListenSettings(models=(ModelSettings(path=str(model)),), wyoming=wyoming))


@asynccontextmanager
async def connected(server: WyomingServer) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient(server.address.host, server.address.port, read_timeout=20) as client:
        yield client


async def stream(
    client: AsyncTcpClient, samples: Samples, rate: int = SAMPLE_RATE, **more: Any
) -> list[tuple[str | None, int | None]]:
    """Send a whole stream; return the detections up to the answer to its end."""
    sending = asyncio.create_task(send(client, samples, rate, **more))
    found = []
    while event := await client.read_event():
        if Detection.is_type(event.type):
            detection = Detection.from_event(event)
            found.append((detection.name, detection.timestamp))
        elif NotDetected.is_type(event.type) or Pong.is_type(event.type):
            break
        elif Error.is_type(event.type):
            raise AssertionError(Error.from_event(event).text)
    await sending
    return found


async def send(
    client: AsyncTcpClient, samples: Samples, rate: int, block: int = 1024, begin_ms: int | None = 0
) -> None:
    await client.write_event(AudioStart(rate, 2, 1).event())
    for i in range(0, len(samples), block):
        timestamp = None if begin_ms is None else begin_ms + 1000 * i // rate
        audio = as_int16(samples[i : i + block]).tobytes()
        await client.write_event(AudioChunk(rate, 2, 1, audio, timestamp).event())
    await client.write_event(AudioStop().event())
    await client.write_event(Ping().event())


def run(work: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 60))
