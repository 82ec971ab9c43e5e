"""Connections to the web server that ask for nothing: aiohttp would keep them for as long as they like."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

ASK_S = 10.0
"""Within this a connection's first request must be complete."""
BODY_S = 5.0
"""And within this, a request's body."""
MAX_SILENT = 128
"""Connections that have not asked yet; of more, the oldest are closed at once."""
LOOK_S = 1.0


class Patience:
    """Closes connections that take too long, or are too many, before they ask for anything."""

    def __init__(self) -> None:
        self._asked = set[RequestHandler]()
        self._since = dict[RequestHandler, float]()

    def middleware(self) -> Middleware:
        """For an aiohttp application: notes who has asked."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._asked.add(request.protocol)
            try:
                await asyncio.wait_for(request.read(), BODY_S)
            except asyncio.TimeoutError as err:
                raise web.HTTPRequestTimeout(text=f"the request was not complete in {BODY_S:g} s\n") from err
            return await handler(request)

        return note

    async def watch(self, server: web.Server) -> None:
        """Look after the connections of a server, until cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            here = set(server.connections)
            self._asked &= here
            self._since = {c: self._since.get(c, now()) for c in here - self._asked}
            silent = sorted(self._since, key=lambda c: self._since[c])
            too_many = max(0, len(silent) - MAX_SILENT)
            for at, connection in enumerate(silent):
                if at < too_many or now() - self._since[connection] > ASK_S:
                    connection.force_close()
                    if connection.transport is not None:
                        connection.transport.abort()
            await asyncio.sleep(LOOK_S)
