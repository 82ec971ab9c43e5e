"""An asyncio event loop in a thread of its own, in which a server of the listener runs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

START_S = 10.0
CLOSE_S = 2.0

log = logging.getLogger(__name__)


class LoopThread:
    """Runs `begin` in a new event loop, then everything it left running, until closed.

    The constructor returns once `begin` has: whatever that raises (a port in use) is raised here.
    """

    def __init__(
        self, name: str, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]
    ) -> None:
        """Start it; `end` runs in the loop when it is closed, before all tasks are cancelled."""
        self._begin, self._end = begin, end
        self.loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        if not self._started.wait(START_S):
            raise OSError(f"{name} did not start within {START_S:g} s")
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End it, within two seconds or so. May be called twice, from any other thread."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(CLOSE_S)

    def call(self, work: Coroutine[Any, Any, Any], timeout_s: float = 5.0) -> Any:
        """Run a coroutine in the loop, from another thread, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        except Exception as err:
            self._failure = err
            log.debug("%s ended", self._thread.name, exc_info=True)
        finally:
            self._started.set()
            self._cancel_rest()
            self.loop.close()

    async def _serve(self) -> None:
        try:
            await self._begin()
            self._started.set()
            await self._stop.wait()
        finally:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._end(), CLOSE_S / 2)

    def _cancel_rest(self) -> None:
        rest = asyncio.all_tasks(self.loop)
        for task in rest:
            task.cancel()
        if rest:
            self.loop.run_until_complete(asyncio.wait(rest, timeout=CLOSE_S / 2))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
