"""The Wyoming server and peers that send nonsense, too much or nothing; addresses; announcements."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_servers import wait_until
from wyoming.client import AsyncUnixClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming_peer import a_listener, connected, run

import wakeword
from wakeword.errors import UsageError
from wakeword.listen import wyoming_events, wyoming_server
from wakeword.listen.listener import Listener
from wakeword.listen.settings import (
    ListenSettings,
    MicrophoneSettings,
    ModelSettings,
    WyomingSettings,
)
from wakeword.listen.wyoming_events import PAYLOAD_BYTES, Names
from wakeword.listen.wyoming_server import WyomingServer, parse_uri, start
from wakeword.listen.wyoming_zeroconf import SERVICE, Announcement, own_addresses


@pytest.fixture(scope="module")
def listener(tiny_model: Path) -> Listener:
    return a_listener(tiny_model)


@pytest.fixture(scope="module")
def server(listener: Listener) -> Iterator[WyomingServer]:
    part = start(listener)
    yield part
    part.close()
    part.close()


def ping(server: WyomingServer) -> str | None:
    """What another client gets: the server goes on."""

    async def ask() -> str | None:
        async with connected(server) as client:
            await client.write_event(Ping("tick").event())
            event = await client.read_event()
            return Pong.from_event(event).text if event else None

    return str(run(ask))


HUGE = json.dumps({"type": "audio-chunk", "payload_length": PAYLOAD_BYTES + 1}).encode() + b"\n"


@pytest.mark.parametrize(
    "sent, reason",
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not JSON"),
        (b"[1, 2]\n", "no JSON object"),
        (b'{"data": {}}\n', "without a type"),
        (b"x" * 200_000, "line of more than"),
        (HUGE, "payload_length"),
        (b'{"type": "ping", "data_length": -5}\n', "data_length"),
        (b'{"type": "ping", "data_length": 99999999999}\n', "data_length"),
        (b'{"type": "ping", "data": 7}\n', "no object"),
        (b'{"type": "ping", "data_length": 2}\n[]', "no JSON object"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b'{"type": "audio-start", "data": {"rate": 16000}}\n', "audio-start lacks"),
        (b'{"type": "audio-start", "data": {"rate": "x", "width": 2, "channels": 1}}\n', "whole number"),
        (b'{"type": "audio-start", "data": {"rate": 1, "width": 2, "channels": 1}}\n', "sample rate"),
        (b'{"type": "detect", "data": {"names": [1]}}\n', "list of texts"),
        (b'{"type": "audio-chunk", "data": {"rate": 16000, "width": 7, "channels": 1}}\n', "bytes"),
        (b'{"type": "audio-chunk", "data": {"rate": [], "width": 2, "channels": 1}}\n', "audio-chunk"),
    ],
)
def test_nonsense_is_answered_with_an_error_and_the_end(
    server: WyomingServer, listener: Listener, sent: bytes, reason: str
) -> None:
    before = listener.hub.problems["wyoming"]
    with socket.create_connection((server.address.host, server.address.port), timeout=10) as peer:
        peer.sendall(sent)
        answer = b""
        while data := peer.recv(65536):
            answer += data
    assert b'"error"' in answer
    assert reason.encode() in answer
    assert listener.hub.problems["wyoming"] == before + 1
    wait_until(lambda: not listener.engine.streams)
    assert ping(server) == "tick"


def test_a_client_that_vanishes_mid_event(server: WyomingServer, listener: Listener) -> None:
    with socket.create_connection((server.address.host, server.address.port), timeout=10) as peer:
        data = b'"data": {"rate": 16000, "width": 2, "channels": 1}'
        peer.sendall(b'{"type": "audio-start", ' + data + b"}\n")
        peer.sendall(b'{"type": "audio-chunk", ' + data + b', "payload_length": 2048}\n')
        peer.sendall(b"half")
        wait_until(lambda: len(listener.engine.streams) == 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # RST
    wait_until(lambda: not listener.engine.streams)
    assert ping(server) == "tick"


def test_a_client_that_never_speaks_makes_room(
    server: WyomingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wyoming_server, "HELLO_S", 0.2)
    with socket.create_connection((server.address.host, server.address.port), timeout=10) as peer:
        assert b"said nothing for 0.2 s" in peer.makefile("rb").read()
    monkeypatch.setattr(wyoming_events, "REST_S", 0.2)
    with socket.create_connection((server.address.host, server.address.port), timeout=10) as peer:
        peer.sendall(b'{"type": ')  # and the rest a letter a minute
        assert b"not complete within 0.2 s" in peer.makefile("rb").read()


def test_a_client_that_spoke_may_be_silent(server: WyomingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wyoming_server, "HELLO_S", 0.2)
    monkeypatch.setattr(wyoming_events, "REST_S", 0.2)

    async def ask() -> list[str]:
        heard = []
        async with connected(server) as client:
            for text in ("one", "two"):
                await client.write_event(Ping(text).event())
                event = await client.read_event()
                heard.append(Pong.from_event(event).text if event else None)
                await asyncio.sleep(0.5)
        return heard

    assert run(ask) == ["one", "two"]


def test_too_many_clients(server: WyomingServer) -> None:
    async def ask() -> Event | None:
        clients = [connected(server) for _ in range(11)]
        opened = [await client.__aenter__() for client in clients[:10]]
        for client in opened:
            await client.write_event(Ping().event())
            await client.read_event()
        async with clients[10] as one_more:
            answer = await one_more.read_event()
        for client in clients[:10]:
            await client.__aexit__(None, None, None)
        return answer

    answer = run(ask)
    assert answer is not None
    assert "10 clients are served already" in Error.from_event(answer).text


def test_unix_socket_and_port_in_use(tiny_model: Path, tmp_path: Path, listener: Listener) -> None:
    path = Path("/tmp") / f"wakeword-{tmp_path.name}.sock"
    settings = ListenSettings(
        models=(ModelSettings(path=str(tiny_model)),),
        wyoming=WyomingSettings(uri=f"unix://{path}"),
        microphone=MicrophoneSettings(enabled=False),
    )
    listening = Listener(settings)
    part = start(listening)

    async def ask() -> str:
        async with AsyncUnixClient(path, read_timeout=10) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            return event.type if event else ""

    try:
        assert run(ask) == "info"
        with pytest.raises(OSError, match="in use"):
            start(listening)
    finally:
        part.close()
    assert not path.exists()


def test_a_port_in_use_is_an_oserror(listener: Listener, tiny_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        uri = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        settings = ListenSettings(
            models=(ModelSettings(path=str(tiny_model)),), wyoming=WyomingSettings(uri=uri)
        )
        with pytest.raises(OSError):
            start(Listener(settings))


def test_addresses() -> None:
    assert str(parse_uri("tcp://0.0.0.0:10400")) == "tcp://0.0.0.0:10400"
    assert parse_uri("tcp://localhost").port == 10400
    assert parse_uri("unix:///run/w.sock").path == "/run/w.sock"
    for bad in ("", "10400", "http://x:1", "tcp://", "tcp://x:99999", "unix://relative"):
        with pytest.raises(UsageError):
            parse_uri(bad)


def test_names() -> None:
    assert Names(("hey nova", "Größe")).all == ("hey_nova", "größe")
    alike = Names(("Hey Nova", "hey_nova"))
    assert alike.all == ("Hey Nova", "hey_nova")
    assert [alike.phrase(name) for name in (*alike.all, "other")] == ["Hey Nova", "hey_nova", None]


def test_zeroconf_announces_and_takes_back() -> None:
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

    addresses = [a for a in own_addresses() if not a.startswith("127.")]
    if not addresses:
        pytest.skip("no network here but loopback")
    seen: list[tuple[str, str]] = []

    async def look() -> None:
        zeroconf = AsyncZeroconf(interfaces=addresses[:1])

        def changed(zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
            seen.append((state_change.name, name))

        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])
        announcement = await Announcement.make(addresses[0], 10400)
        for _ in range(100):
            if seen:
                break
            await asyncio.sleep(0.1)
        await announcement.close()
        for _ in range(100):
            if len(seen) > 1:
                break
            await asyncio.sleep(0.1)
        await browser.async_cancel()
        await zeroconf.async_close()

    asyncio.run(look())
    assert [state for state, _ in seen] == ["Added", "Removed"]
    assert seen[0][1].startswith("wakeword-") and seen[0][1].endswith(f"-10400.{SERVICE}")


def test_loopback_is_not_announced() -> None:
    with pytest.raises(wakeword.WakewordError, match="not on a network"):
        asyncio.run(Announcement.make("127.0.0.1", 10400))
