"""What floods the servers leaves little behind, even before Python collects its garbage."""

from __future__ import annotations

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from local_servers import wait_until
from web_site import a_site
from wyoming_peer import a_listener

from wakeword.listen.small_reads import SmallReads
from wakeword.listen.wyoming_server import WyomingServer

FLOODS, FLOOD_BYTES = 20, 1 << 20
MOST_BYTES = 4 << 20
"""Of memory, for all of them together: about what the first read of each used to take."""


class Collects(asyncio.Protocol):
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> bool:
        return True


def test_data_comes_in_small_pieces_and_whole() -> None:
    sent = bytes(range(256)) * 1000

    async def talk() -> list[bytes]:
        loop, inner = asyncio.get_running_loop(), Collects()
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(lambda: SmallReads(inner, 1000), sock=ours)
            await loop.run_in_executor(None, theirs.sendall, sent)
            theirs.shutdown(socket.SHUT_WR)
            while len(b"".join(inner.pieces)) < len(sent):
                await asyncio.sleep(0.01)
            transport.close()
        return inner.pieces

    pieces = asyncio.run(asyncio.wait_for(talk(), 20))
    assert b"".join(pieces) == sent
    assert max(map(len, pieces)) == 1000


@dataclass
class Growth:
    """Of Python's memory, in bytes, without garbage collections."""

    most: int = 0
    left: int = 0


@contextmanager
def growth() -> Iterator[Growth]:
    """Filled in as the block ends."""
    grown = Growth()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield grown
        left, most = tracemalloc.get_traced_memory()
        grown.left, grown.most = left - before, most - before
    finally:
        tracemalloc.stop()
        gc.enable()


def flood(port: int) -> None:
    """A long line from each of twenty clients, one after the other."""
    letters = b"x" * FLOOD_BYTES
    for _ in range(FLOODS):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer, suppress(OSError):
            peer.sendall(letters)


def test_floods_of_the_web_page(tiny_model: Path, tmp_path: Path) -> None:
    with a_site(tiny_model, tmp_path) as site, growth() as grown:
        flood(urlsplit(site.address).port or 0)
    assert grown.most < MOST_BYTES


@pytest.fixture
def server(tiny_model: Path) -> Iterator[WyomingServer]:
    one = WyomingServer(a_listener(tiny_model))
    yield one
    one.close()


def test_floods_of_wyoming(server: WyomingServer) -> None:
    hub = server._listener.hub
    with growth() as grown:
        flood(server.address.port)
        wait_until(lambda: hub.problems["wyoming"] == FLOODS and not server._clients)
    assert grown.most < MOST_BYTES


def test_clients_that_left_leave_nothing(server: WyomingServer) -> None:
    with growth() as grown:
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", server.address.port), timeout=10) as peer:
                peer.shutdown(socket.SHUT_WR)
                assert peer.recv(1) == b""
        wait_until(lambda: not server._clients)
    assert grown.left < 200 * 2_000
