"""The host's end of a device: greets it, reads what it says, and tells what is an event.

with DeviceLink(SerialLine("/dev/ttyACM0")) as device:
    print(device.hello.phrase)
    for message in device.messages(): ...
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from firmware_bridge import frames
from firmware_bridge.decision import SLICES_UNHEARD
from firmware_bridge.frames import Deframer, Event, Hello, LinkCounts, Message, Status
from firmware_bridge.line import Line
from wakeword.decision import Detection
from wakeword.errors import DeviceError

GREETING_S = 5.0
"""A device must have said what it is after this long."""
ASK_AGAIN_S = 1.0
SILENT_S = 5.0
"""A device that says nothing for so long is gone: it gives a sign of life every second."""
WINDOW_MS, SLICE_MS = 30, 10


class DeviceLink:
    """A device that has said what it is. A context manager."""

    def __init__(
        self,
        line: Line,
        wants: int = 0,
        *,
        greeting_s: float = GREETING_S,
        silent_s: float = SILENT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask the device what it is, and for `wants`; DeviceError, with the line closed, if it does not say.

        Args:
            line: to the device.
            wants: `frames.WANT_TRACE`, `frames.WANT_AUDIO`, both or neither.
            greeting_s: how long to wait for the answer.
            silent_s: how long it may say nothing.
            clock: seconds.
        """
        self._line, self._wants, self._silent_s, self._clock = line, wants, silent_s, clock
        self._deframer = Deframer()
        self._n_bytes = 0
        self._n_asked = 0
        self._early: list[Message] = []
        try:
            self.hello = self._greet(greeting_s)
        except BaseException:
            line.close()
            raise

    def __enter__(self) -> DeviceLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The port or address."""
        return self._line.name

    @property
    def counts(self) -> LinkCounts:
        """What was wrong on the line so far."""
        return self._deframer.counts

    def close(self) -> None:
        """Let go of the line."""
        self._line.close()

    def messages(self) -> Iterator[Message | None]:
        """What the device says, and None a few times a second while it says nothing.

        DeviceError once it is gone, or silent for too long.
        """
        last_s = self._clock()
        yield from self._early
        while True:
            found = self._deframer.feed(self._line.read())
            if found:
                last_s = self._clock()
            elif self._clock() - last_s > self._silent_s:
                raise DeviceError(f"{self.name}: the device has said nothing for {self._silent_s:g} s")
            if found:
                yield from found
            else:
                yield None

    def _greet(self, greeting_s: float) -> Hello:
        start_s = self._clock()
        asked_s = float("-inf")
        while (now_s := self._clock()) - start_s < greeting_s:
            if now_s - asked_s >= ASK_AGAIN_S:
                self._line.write(frames.ask(self._n_asked, self._wants))
                self._n_asked, asked_s = self._n_asked + 1, now_s
            data = self._line.read()
            self._n_bytes += len(data)
            found = self._deframer.feed(data)
            for i, message in enumerate(found):
                if isinstance(message, Hello):
                    self._early = found[i + 1 :]
                    return self._checked(message)
        raise DeviceError(self._why_silent(greeting_s))

    def _checked(self, hello: Hello) -> Hello:
        if hello.version != frames.VERSION:
            raise DeviceError(
                f"{self.name}: the device speaks version {hello.version} of the protocol, this program "
                f"{frames.VERSION}; build its firmware anew: wakeword firmware build --target c"
            )
        return hello

    def _why_silent(self, greeting_s: float) -> str:
        if self._n_bytes:
            return (
                f"{self.name}: {self._n_bytes} bytes came in {greeting_s:g} s, but no frame of ours; is "
                "--baud what the firmware uses, and does it call ww_link_open?"
            )
        return (
            f"{self.name}: the device is silent for {greeting_s:g} s; is it running, and does its firmware "
            "call ww_link_receive and send what ww_link_pending gives?"
        )


@dataclass
class EventFilter:
    """From a device's messages to its events, each once: also those whose frame was lost on the line."""

    hello: Hello
    lost: int = 0
    """Events that the device counted, but that were never told."""
    implausible: int = 0
    """Events closer together than the device's own rule allows."""
    _number: int | None = None
    """Of the last event; None = before the device's first word."""
    _frame: int = 0
    """Latest that the device spoke of."""
    _last: Event | None = field(default=None)

    def feed(self, message: Message) -> Detection | None:
        """The event that a message tells of, if it is new."""
        if isinstance(message, Event):
            return self._event(message, message.frame)
        if isinstance(message, Status):
            return self._status(message)
        return None

    def _status(self, status: Status) -> Detection | None:
        if self._number is None:  # what was heard before we listened is no event
            self._number, self._last = status.last.number if status.last else 0, status.last
        if status.last is None or (status.last == self._last and status.frame >= self._frame):
            self._at(status.frame)
            return None
        return self._event(status.last, status.frame)

    def _at(self, frame: int) -> None:
        if frame < self._frame:  # it was restarted, and counts from 0
            self._number, self._last = 0, None
        self._frame = frame

    def _event(self, event: Event, frame: int) -> Detection | None:
        self._at(frame)
        if event == self._last:
            return None
        if self._last is not None and event.frame - self._last.frame < SLICES_UNHEARD:
            self.implausible += 1
            return None
        if self._number is not None:
            self.lost += (event.number - self._number - 1) % 65536
        self._number, self._last = event.number, event
        return Detection(
            self.hello.phrase,
            (event.frame * SLICE_MS + WINDOW_MS - SLICE_MS) / 1000,
            event.mean / 255,
            self.hello.cutoff / 255,
        )
