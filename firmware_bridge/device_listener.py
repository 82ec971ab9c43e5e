"""A microcontroller as the source of a listener: its events go through the same hub to the same actions.

The device has heard and decided; here is nothing to load and nothing to score. What `listen.toml` says of
output, sounds, commands, webhooks, MQTT, the web page and saved clips holds for its events, too.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from firmware_bridge.bridge import DeviceLink
from firmware_bridge.device_stream import DeviceStream
from firmware_bridge.frames import Hello, LinkCounts, Message
from wakeword.errors import DeviceError, UsageError
from wakeword.listen.engine import Engine, Stream
from wakeword.listen.events import SourceState
from wakeword.listen.hub import Hub
from wakeword.listen.listener import Listener
from wakeword.listen.loaded import Loaded
from wakeword.listen.parts import Parts
from wakeword.listen.settings import ClipSettings, ListenSettings

RETRY_S = (1.0, 2.0, 5.0, 15.0)
"""Waits before a device that was lost is looked for again."""

log = logging.getLogger(__name__)


class DeviceEngine(Engine):
    """What parts ask about phrases, answered by what the device said it is; it has no models."""

    def __init__(self, hub: Hub, clip: ClipSettings, hello: Hello) -> None:
        self.hub, self.clip, self.hello = hub, clip, hello
        self.streams: dict[str, Stream] = {}
        self.loaded: tuple[Loaded, ...] = ()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def phrases(self) -> tuple[str, ...]:
        """The device's one phrase."""
        return (self.hello.phrase,)

    @property
    def thresholds(self) -> dict[str, float]:
        """What the mean of its last scores must exceed, 0 to 1."""
        return {self.hello.phrase: self.hello.cutoff / 255}

    def swap(self, loaded: Sequence[Loaded]) -> None:
        """Nothing: models of a changed configuration are not for a device."""

    def open(self, name: str, what: str = "", wanted: Collection[str] | None = None) -> Stream:
        """UsageError: sound from elsewhere has no model here to hear it."""
        raise UsageError("this listener hears a device only; for streams, run: wakeword listen")


class DeviceListener(Listener):
    """Tells its parts what a device hears, until it is stopped; a device that is lost is waited for."""

    def __init__(
        self,
        settings: ListenSettings,
        connect: Callable[[], DeviceLink],
        config: Path | None = None,
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        """Connect; DeviceError where that fails.

        Args:
            settings: what to do on an event; their models and microphone are not looked at.
            connect: makes a link to the device, each time anew.
            config: the file they are from.
            on_message: is called with everything the device says.
        """
        self.settings, self.config, self.ui = settings, config, False
        self.folder = config.parent if config else Path()
        self._connect, self._on_message = connect, on_message
        self._link = connect()
        self.hub = Hub()
        self.engine = DeviceEngine(self.hub, settings.clip, self._link.hello)
        self.parts = Parts(self)
        self.since = time.time()
        self.turned_s = time.monotonic()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._source = None
        self._reloading = threading.Lock()
        self.counts = LinkCounts()
        """What was wrong on the line, over all connections that ended."""

    @property
    def device(self) -> str:
        """Port or address."""
        return self._link.name

    @property
    def hello(self) -> Hello:
        """What the device is."""
        return self._link.hello

    def run_device(self, once: bool = False) -> None:
        """Listen until `stop` is called, or with `once` until the device is lost.

        Ends with what was given to `fail`, and with `once` with the DeviceError that says how it was lost.
        """
        self.parts.adapt()
        try:
            returns = 0
            while not self._stopping.is_set():
                self._follow(returns)
                if self._stopping.is_set() or once:
                    break
                if self._reconnect():
                    returns += 1
        finally:
            self._link.close()
            self.parts.close()
        if self._failure is not None:
            raise self._failure

    def _follow(self, returns: int) -> None:
        """Publish what the device says until it is lost."""
        name = f"device {self.device}"
        self.hub.publish(SourceState(name, "listening", self.device, returns))
        stream = DeviceStream(self.engine, name, self.hello, self._on_message)
        try:
            for message in self._link.messages():
                self.turned_s = time.monotonic()
                if self._stopping.is_set():
                    return
                if message is not None:
                    stream.take(message)
        except DeviceError as err:
            log.warning("%s", err)
            self.hub.publish(SourceState(name, "lost", str(err), returns))
        finally:
            stream.close()
            self._count(stream)
            self._link.close()

    def _count(self, stream: DeviceStream) -> None:
        counts, events = self._link.counts, stream.events
        self.counts.damaged += counts.damaged
        self.counts.overlong += counts.overlong
        self.counts.missing += counts.missing
        if events.lost or events.implausible:
            log.warning(
                "%s: %d events never arrived, %d were refused as too close together",
                stream.name,
                events.lost,
                events.implausible,
            )

    def _reconnect(self) -> bool:
        for wait_s in itertools.chain(RETRY_S, itertools.repeat(RETRY_S[-1])):
            if self._stopping.wait(wait_s):
                return False
            self.turned_s = time.monotonic()
            try:
                self._link = self._connect()
            except DeviceError as err:
                log.info("%s", err)
                continue
            self.engine.hello = self._link.hello  # type: ignore[attr-defined]
            log.warning("%s is back", self.device)
            return True
        return False
