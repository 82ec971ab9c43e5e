"""The web server of a listener: a live page, /metrics for Prometheus and /health.

/               the page (wakeword/listen/page)      /api/events       what happens, as server-sent events
/api/state      all of it at once                    /api/clip/N.wav   the sound around a detection
/api/tune       POST: another operating point        /metrics  /health
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword.errors import UsageError, WakewordError
from wakeword.listen.events import Event
from wakeword.listen.hub import Subscription
from wakeword.listen.loop_thread import LoopThread
from wakeword.listen.metrics import Metrics
from wakeword.listen.parts import needs
from wakeword.listen.small_reads import SmallReads
from wakeword.listen.web_state import Picture, event_dict

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Middleware

    from wakeword.listen.listener import Listener

PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/plot.js": ("plot.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
MAX_BODY = 4096
READ_BYTES = 4096
"""Read of a connection at a time."""
MAX_FOLLOWERS = 16
"""Pages that may follow at once."""
PING_S = 15.0
SEND_S = 5.0

log = logging.getLogger(__name__)


class WebServer:
    """A running server."""

    def __init__(self, listener: Listener) -> None:
        with needs("aiohttp", "serve"):
            import aiohttp  # noqa: F401
        self._listener = listener
        self._settings = listener.settings.web
        self._picture = Picture(listener)
        self._metrics = Metrics(listener) if self._settings.metrics else None
        self._followers = 0
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._events = listener.hub.subscribe("web", size=1024)
        try:
            self._thread = LoopThread("web", self._begin, self._end)
        except BaseException:
            self._events.close()
            raise

    def close(self) -> None:
        """Hang up on everyone."""
        self._events.close()
        self._thread.close()

    async def _begin(self) -> None:
        from aiohttp import web

        from wakeword.listen.web_patience import Patience

        patience = Patience()
        self._runner = web.AppRunner(
            self._application([patience.middleware()]),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=0.5,
            keepalive_timeout=15,
        )  # fmt: skip
        await self._runner.setup()
        assert self._runner.server is not None
        server = self._runner.server
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: SmallReads(server(), READ_BYTES), self._settings.host, self._settings.port
            )
        except OSError:
            await self._runner.cleanup()
            raise
        self._tasks = [
            asyncio.ensure_future(self._watch()),
            asyncio.ensure_future(patience.watch(server)),
        ]
        log.info("web page at http://%s:%d", self._settings.host, self._settings.port)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _application(self, middlewares: list[Middleware]) -> web.Application:
        from aiohttp import web

        from wakeword.listen.web_guard import Guard, add_headers, read_token

        file = self._settings.token_file
        token_path = self._listener.folder / Path(file).expanduser() if file else None
        guard = Guard(self._settings.host, read_token(token_path, self._settings.host))
        middlewares = [*middlewares, guard.middleware()]
        app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
        app.on_response_prepare.append(add_headers)
        app.router.add_get("/health", self._health)
        if self._metrics is not None:
            app.router.add_get("/metrics", self._tell_metrics)
        if self._settings.page:
            for path in PAGE_FILES:
                app.router.add_get(path, self._page_file)
            app.router.add_get("/api/state", self._state)
            app.router.add_get("/api/events", self._follow)
            app.router.add_get(r"/api/clip/{number:\d{1,12}}.wav", self._clip)
            app.router.add_post("/api/tune", self._tune)
        return app

    async def _watch(self) -> None:
        async for event in self._events:
            self._picture.take(event)
            if self._metrics is not None:
                self._metrics.take(event)

    async def _health(self, request: web.Request) -> web.Response:
        from aiohttp import web

        health = self._picture.health()
        return web.json_response(health, status=503 if health["status"] == "stuck" else 200)

    async def _tell_metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web
        from prometheus_client import CONTENT_TYPE_LATEST

        assert self._metrics is not None
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _page_file(self, request: web.Request) -> web.Response:
        from aiohttp import web

        name, kind = PAGE_FILES[request.path]
        text = (files("wakeword.listen") / "page" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind)

    async def _state(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.json_response(self._picture.state())

    async def _clip(self, request: web.Request) -> web.Response:
        from aiohttp import web

        wav = self._picture.wav(int(request.match_info["number"]))
        if wav is None:
            raise web.HTTPNotFound(text="its sound is not kept\n")
        return web.Response(body=wav, content_type="audio/wav")

    async def _tune(self, request: web.Request) -> web.Response:
        from aiohttp import web

        try:
            asked = await request.json()
            phrase, rate = asked["phrase"], asked["fa_per_hour"]
            if not isinstance(phrase, str) or type(rate) not in (int, float):
                raise TypeError
        except (ValueError, KeyError, TypeError) as err:
            raise web.HTTPBadRequest(text='expected {"phrase": "...", "fa_per_hour": 0.5}\n') from err
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._listener.tune, phrase, float(rate))
        except UsageError as err:
            raise web.HTTPBadRequest(text=f"{err}\n") from err
        except (WakewordError, OSError) as err:
            raise web.HTTPInternalServerError(text=f"{err}\n") from err
        return web.json_response(self._picture.state()["phrases"])

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        if self._followers >= MAX_FOLLOWERS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_FOLLOWERS} pages follow already\n")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._followers += 1
        events = self._listener.hub.subscribe("web page", size=128)
        try:
            await answer.prepare(request)
            await self._send_events(answer, events)
        except (OSError, asyncio.TimeoutError):
            pass  # it left
        finally:
            self._followers -= 1
            events.close()
        return answer

    async def _send_events(self, answer: web.StreamResponse, events: Subscription[Event]) -> None:
        pinging = asyncio.ensure_future(_ping(answer, events))
        try:
            async for event in events:
                if (told := event_dict(event)) is not None:
                    await _send(answer, f"data: {json.dumps(told)}\n\n")
        finally:
            pinging.cancel()


async def _send(answer: Any, text: str) -> None:
    await asyncio.wait_for(answer.write(text.encode()), SEND_S)


async def _ping(answer: Any, events: Subscription[Event]) -> None:
    """A page that left is noticed when something is sent to it."""
    with suppress(OSError, asyncio.TimeoutError):
        while True:
            await asyncio.sleep(PING_S)
            await _send(answer, ": \n\n")
    events.close()


def start(listener: Listener) -> WebServer:
    """Serve for as long as the listener runs; see `wakeword.listen.parts`."""
    return WebServer(listener)
