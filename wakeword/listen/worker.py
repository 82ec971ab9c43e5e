"""A part that handles detections one by one, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from wakeword.errors import WakewordError
from wakeword.listen.events import Clip, Heard
from wakeword.listen.hub import Hub

CLOSE_S = 2.0

log = logging.getLogger(__name__)


class Worker:
    """Calls `handle` with each event of a kind; what that raises is a `Problem`, and the next is handled."""

    def __init__(
        self,
        hub: Hub,
        name: str,
        handle: Callable[[Any], None],
        phrases: Collection[str] = (),
        kind: type[Heard] | type[Clip] = Heard,
        size: int = 64,
    ) -> None:
        """Begin.

        Args:
            hub: whose events.
            name: for messages.
            handle: takes an event; may take its time. WakewordError or OSError where it fails.
            phrases: whose events; none named = all.
            kind: Heard, or Clip for the sound around it.
            size: events that may wait; the oldest go first.
        """
        self.closing = threading.Event()
        """Set once `close` was called: a handler that waits should come to its end."""
        self._hub, self._name, self._handle, self._phrases = hub, name, handle, frozenset(phrases)
        self._events = hub.subscribe(name, kind, size=size)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Handle what waits, for at most two seconds, and end."""
        self.closing.set()
        self._events.close()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        for event in self._events:
            heard = event.heard if isinstance(event, Clip) else event
            if isinstance(heard, Heard) and (not self._phrases or heard.detection.phrase in self._phrases):
                self._do(event)

    def _do(self, event: Any) -> None:
        try:
            self._handle(event)
        except (WakewordError, OSError) as err:
            self._hub.problem(self._name, str(err))
        except Exception as err:  # a fault of ours must not end the part
            log.debug("%s", self._name, exc_info=True)
            self._hub.problem(self._name, f"failed ({type(err).__name__}: {err})")
        else:
            self._hub.solved(self._name)


class Group:
    """Several parts as one."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def close(self) -> None:
        """Close all, whatever one of them does."""
        for part in self._parts:
            with suppress(WakewordError, OSError):
                part.close()
