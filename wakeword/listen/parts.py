"""What runs beside the loop of a listener: outputs, actions, servers. Each starts when its settings ask.

A part is what `start(listener)` of its module returns. It subscribes to `listener.hub` and does its work in
threads of its own, so that a failure in it never reaches the sound.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from wakeword.errors import UsageError, WakewordError

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Waits between tries to start a part that failed, such as one whose port is taken."""


class Part(Protocol):
    """Something that runs."""

    def close(self) -> None:
        """End it, within two seconds or so. May be called twice."""


class NotInstalledError(WakewordError):
    """A package of an extra is missing."""


@contextmanager
def needs(package: str, extra: str) -> Iterator[None]:
    """Around the import of an optional package: an error that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as err:
        raise NotInstalledError(f"this needs {package}; run: pip install 'wakeword[{extra}]'") from err


@dataclass(frozen=True)
class PartSpec:
    """A part there may be."""

    name: str
    start: str
    """module:function that takes a `Listener`; WakewordError or OSError where it cannot start."""
    wanted: Callable[[Listener], Any]
    """Truthy where the settings ask for it; when the value changes it is started anew."""


PARTS = tuple(
    PartSpec(name, f"wakeword.listen.{start}", wanted)
    for name, start, wanted in (
        ("output", "output:start", lambda x: x.settings.output.format != "none" and x.settings.output),
        ("sounds", "actions:start_sounds", lambda x: x.settings.sounds),
        ("commands", "actions:start_commands", lambda x: x.settings.commands),
        ("webhooks", "webhook:start", lambda x: x.settings.webhooks),
        ("save", "save:start", lambda x: x.settings.save.folder and x.settings.save),
        ("wyoming", "wyoming_server:start", lambda x: x.settings.wyoming.uri and x.settings.wyoming),
        ("mqtt", "mqtt:start", lambda x: x.settings.mqtt.host and x.settings.mqtt),
        ("web", "web:start", lambda x: x.settings.web.enabled and x.settings.web),
        ("systemd", "unit_notify:start", lambda _: os.environ.get("NOTIFY_SOCKET")),
        ("view", "view:start", lambda x: x.ui),
    )
)


class Parts:
    """Keeps the parts running that a listener's settings ask for."""

    def __init__(self, listener: Listener, specs: tuple[PartSpec, ...] = PARTS) -> None:
        self._listener, self._specs = listener, specs
        self._running: dict[str, tuple[Any, Part]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._retrying: threading.Thread | None = None

    @property
    def running(self) -> tuple[str, ...]:
        """Names of those that run."""
        return tuple(self._running)

    def adapt(self, strict: bool = False) -> None:
        """Start, restart and end parts as the settings now ask; those that fail are tried again later.

        With `strict`, as when a program starts, what waiting cannot mend is raised instead: UsageError for
        settings that cannot be, NotInstalledError.
        """
        if not self._try_all(strict) and (self._retrying is None or not self._retrying.is_alive()):
            self._retrying = threading.Thread(target=self._retry, name="parts", daemon=True)
            self._retrying.start()

    def close(self) -> None:
        """End all, the last begun first."""
        self._closed.set()
        with self._lock:
            for name in reversed(list(self._running)):
                self._end(name)

    def _try_all(self, strict: bool = False) -> bool:
        with self._lock:
            return all([self._adapt(spec, strict) for spec in self._specs])

    def _retry(self) -> None:
        for attempt in range(1_000_000):
            if self._closed.wait(RETRY_S[min(attempt, len(RETRY_S) - 1)]) or self._try_all():
                return

    def _adapt(self, spec: PartSpec, strict: bool) -> bool:
        if self._closed.is_set():
            return True
        wanted = spec.wanted(self._listener)
        running = self._running.get(spec.name)
        if running is not None and running[0] != wanted:
            self._end(spec.name)
            running = None
        if wanted and running is None:
            return self._start(spec, wanted, strict)
        return True

    def _start(self, spec: PartSpec, wanted: Any, strict: bool) -> bool:
        module, _, function = spec.start.partition(":")
        try:
            part = getattr(importlib.import_module(module), function)(self._listener)
        except (WakewordError, OSError) as err:
            if strict and isinstance(err, (UsageError, NotInstalledError)):
                raise
            self._listener.hub.problem(spec.name, f"cannot start: {err}")
            return False
        self._running[spec.name] = (wanted, part)
        self._listener.hub.solved(spec.name, "started")
        return True

    def _end(self, name: str) -> None:
        _, part = self._running.pop(name)
        part.close()
