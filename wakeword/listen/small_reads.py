"""Connections read in small pieces: asyncio's own reads ask for 256 KB each.

Whoever connects and floods us decides how much of that is filled. What an ended connection leaves behind (its
buffers, an error that quotes what could not be read) stays until Python's garbage collector gets to it, so
a storm of connections would take hundreds of megabytes.
"""

from __future__ import annotations

import asyncio


class SmallReads(asyncio.BufferedProtocol):
    """Between a transport and a protocol: passes on all, and data at most `n_bytes` at a time."""

    def __init__(self, inner: asyncio.Protocol, n_bytes: int) -> None:
        self._inner = inner
        self._buffer = memoryview(bytearray(n_bytes))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport writes what it reads next."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read."""
        self._inner.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        """The peer sends no more; True keeps the other direction open."""
        return self._inner.eof_received()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection begins."""
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._inner.connection_lost(exc)
        self._buffer = memoryview(b"")

    def pause_writing(self) -> None:
        """The peer takes nothing at the moment."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It takes again."""
        self._inner.resume_writing()
