"""The Wyoming server of a listener: accepts clients, within limits, and announces itself.

Home Assistant: Settings, Devices & services, Add integration, Wyoming Protocol; host and port of this server.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wakeword.errors import UsageError, WakewordError
from wakeword.listen.loop_thread import LoopThread
from wakeword.listen.parts import needs
from wakeword.listen.small_reads import SmallReads
from wakeword.machine import processors

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

DEFAULT_PORT = 10400
KEEPALIVE_S = 20
"""Seconds of silence after which a client's computer is asked whether it is still there."""
HELLO_S = 30.0
"""A client that says nothing for so long after it connects makes room for others."""
READ_BYTES = 16 << 10
"""Read of a connection at a time."""
CLOSE_S = 1.0
LINGER_S = 2.0
"""How long a client that is turned away may take to hang up."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where to serve: a host and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def parse_uri(uri: str) -> Address:
    """`tcp://host:port` or `unix:///path`; UsageError for others."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as err:
        raise UsageError(f"Wyoming address {uri!r}: {err}") from err
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        return Address(path=parts.path)
    if parts.scheme == "tcp" and parts.hostname and parts.path in ("", "/"):
        return Address(parts.hostname, DEFAULT_PORT if port is None else port)
    raise UsageError(f"Wyoming address {uri!r}; it must be tcp://HOST:PORT or unix:///PATH")


class WyomingServer:
    """A running server; `address` is where, with the port that was chosen for port 0."""

    def __init__(self, listener: Listener) -> None:
        with needs("wyoming", "serve"):
            import wyoming  # noqa: F401
        self._listener = listener
        self._settings = listener.settings.wyoming
        self.address = parse_uri(self._settings.uri)
        self._clients: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._announcement: Any = None
        self._n_unix = 0
        # One more than cores: a client that resamples much does not hold up the rest.
        self._workers = ThreadPoolExecutor(processors() + 1, thread_name_prefix="wyoming")
        try:
            self._thread = LoopThread("wyoming", self._begin, self._end)
        except BaseException:
            self._workers.shutdown(wait=False)
            raise

    def close(self) -> None:
        """Hang up on everyone."""
        self._thread.close()
        self._workers.shutdown(wait=False)

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self.address.path:
            _remove_dead_socket(Path(self.address.path))
            self._server = await loop.create_unix_server(self._protocol, self.address.path)
        else:
            host = self.address.host
            self._server = await loop.create_server(self._protocol, host, self.address.port)
            self.address = Address(host, self._server.sockets[0].getsockname()[1])
        log.info("Wyoming clients are served at %s", self.address)
        if self._settings.zeroconf:
            await self._announce()

    def _protocol(self) -> asyncio.BaseProtocol:
        """For one more client: what asyncio.start_server makes, reading less at a time."""
        from wakeword.listen.wyoming_events import LINE_BYTES

        reader = asyncio.StreamReader(limit=LINE_BYTES)
        return SmallReads(asyncio.StreamReaderProtocol(reader, self._accept), READ_BYTES)

    async def _end(self) -> None:
        if self._announcement is not None:
            await self._announcement.close()
        if self._server is not None:
            self._server.close()
        for task in self._clients:
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients, timeout=CLOSE_S)
        if self.address.path:
            Path(self.address.path).unlink(missing_ok=True)

    async def _announce(self) -> None:
        from wakeword.listen.wyoming_zeroconf import Announcement

        try:
            self._announcement = await Announcement.make(self.address.host, self.address.port)
        except (WakewordError, OSError) as err:
            self._listener.hub.problem("zeroconf", f"not announced: {err}")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the server ends; asyncio would log it as an error of ours
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from wakeword.listen.wyoming_session import Session

        peer = self._peer(writer)
        microphone = self._listener.settings.microphone.enabled
        session = Session(self._listener.engine, writer, peer, self._workers, microphone)
        why = "hung up"
        try:
            if len(self._clients) > self._settings.max_clients:
                raise WakewordError(f"{self._settings.max_clients} clients are served already")
            await self._converse(session, reader)
        except WakewordError as err:
            why = str(err)
            self._listener.hub.problem("wyoming", f"a client was turned away: {err}")
            with suppress(OSError, asyncio.TimeoutError):
                await session.send_error(why, "bad-request")
                await asyncio.wait_for(_until_gone(reader, writer), LINGER_S)
        except (OSError, asyncio.TimeoutError) as err:
            why = f"vanished ({err or 'it takes nothing'})"
        finally:
            await asyncio.shield(session.close(why))

    async def _converse(self, session: Any, reader: asyncio.StreamReader) -> None:
        from wakeword.listen.wyoming_events import read_event

        event = await read_event(reader, HELLO_S)
        while event is not None:
            await session.handle(event)
            event = await read_event(reader)

    def _peer(self, writer: asyncio.StreamWriter) -> str:
        """A name for the client's stream; keeps watch on its connection."""
        address = writer.get_extra_info("peername")
        if not address:
            self._n_unix += 1
            return f"wyoming unix-{self._n_unix}"
        _keep_alive(writer.get_extra_info("socket"))
        return f"wyoming {address[0]}:{address[1]}"


async def _until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what the client still sends: hanging up on unread data would destroy our last answer to it."""
    writer.write_eof()
    while await reader.read(1 << 16):
        pass


def _keep_alive(connection: socket.socket) -> None:
    """A computer that is switched off does not hang up: let the system find out within a minute or so."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_S // 2),
        ("TCP_KEEPCNT", 3),
    ):
        if option := getattr(socket, name, None):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _remove_dead_socket(path: Path) -> None:
    """Remove a socket that no one serves any more; OSError where someone does, or it is no socket."""
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(f"{path} is in use")


def start(listener: Listener) -> WyomingServer:
    """Serve for as long as the listener runs; see `wakeword.listen.parts`."""
    return WyomingServer(listener)
