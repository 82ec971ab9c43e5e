"""Where a listener publishes and everything else subscribes. Publishing never waits.

Each subscriber has a bounded queue of its own; one that does not keep up loses its oldest events, which are
counted and said once. A subscriber is a thread that iterates its subscription, or a coroutine that iterates
it asynchronously.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast, overload

from wakeword.listen.events import Event, Problem

QUEUE_EVENTS = 256
MOST_SAID = 20
"""Different messages about one thing that are logged before it is solved."""

E = TypeVar("E")

log = logging.getLogger(__name__)


class Subscription(Generic[E]):
    """The events of some kinds, from now on, for one subscriber. A context manager."""

    def __init__(self, hub: Hub, name: str, kinds: tuple[type[Any], ...], size: int) -> None:
        self.name = name
        self.dropped = 0
        """Events that this subscriber lost since it began."""
        self._hub, self._kinds, self._size = hub, kinds, size
        self._waiting: deque[E] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._wake: Callable[[], None] = lambda: None

    def __enter__(self) -> Subscription[E]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._waiting)

    def get(self, timeout_s: float | None = None) -> E | None:
        """The next event, after waiting for at most so long (None: for ever); None when closed or late."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
            return self._waiting.popleft() if self._waiting else None

    def __iter__(self) -> Iterator[E]:
        """Events until `close`; those that wait then still come."""
        while (event := self.get()) is not None:
            yield event

    async def __aiter__(self) -> AsyncIterator[E]:
        """The same within an event loop."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(arrived.set)

        self._wake = wake
        while True:
            arrived.clear()
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            await arrived.wait()

    def close(self) -> None:
        """Take no more events. May be called twice, from any thread."""
        self._hub._forget(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._wake()

    def _put(self, event: Event) -> bool:
        """Queue an event; False where an older one had to go."""
        if not isinstance(event, self._kinds):
            return True
        with self._changed:
            self._waiting.append(cast(E, event))
            fits = len(self._waiting) <= self._size
            if not fits:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.notify()
        self._wake()
        return fits


class Hub:
    """Publishes events to its subscribers; from any thread, without waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription[Any], ...] = ()
        self._said: dict[str, set[str]] = {}
        self.problems: Counter[str] = Counter()
        """Problems so far, by `where`."""

    @overload
    def subscribe(self, name: str, *, size: int = ...) -> Subscription[Event]: ...

    @overload
    def subscribe(self, name: str, *kinds: type[E], size: int = ...) -> Subscription[E]: ...

    def subscribe(self, name: str, *kinds: type[Any], size: int = QUEUE_EVENTS) -> Subscription[Any]:
        """Begin to collect the events of these kinds (none named: of every kind).

        `name` is for messages and metrics. Of events that wait, the newest `size` are kept.
        """
        subscription: Subscription[Any] = Subscription(self, name, kinds or (object,), size)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    @property
    def subscriptions(self) -> tuple[Subscription[Any], ...]:
        """Those who listen now."""
        return self._subscriptions

    def publish(self, event: Event) -> None:
        """Give an event to all whom it concerns."""
        for subscription in self._subscriptions:
            if not subscription._put(event) and subscription.dropped == 1:
                log.warning("%s does not keep up; its oldest events are dropped", subscription.name)

    def problem(self, where: str, what: str) -> None:
        """Count a failure and publish it; log it once until `where` is solved. `what` holds no counter."""
        with self._lock:
            self.problems[where] += 1
            said = self._said.setdefault(where, set())
            new = what not in said and len(said) < MOST_SAID
            if new:
                said.add(what)
        if new:
            log.warning("%s: %s", where, what)
        self.publish(Problem(where, what))

    def solved(self, where: str, what: str = "works again") -> None:
        """Say, once, that a failure is over; nothing where there was none."""
        with self._lock:
            over = self._said.pop(where, None)
        if over is not None:
            log.warning("%s: %s", where, what)
            self.publish(Problem(where, what, solved=True))

    def _forget(self, subscription: Subscription[Any]) -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)
