"""The frames on the line between a device and its host; `c/ww_link.h` describes them and has the other end.

    0x00, COBS(type, sequence, body, CRC-16 low byte first), 0x00

A frame that is damaged, cut off, too long or of unknown type is dropped and counted; the next zero begins
anew.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

VERSION = 1
MAX_BODY = 240
MAX_ENCODED = MAX_BODY + 5
"""Bytes between two zeros."""
HELLO, EVENT, STATUS, TRACE, AUDIO, ASK = 1, 2, 3, 4, 5, 0x81
WANT_TRACE, WANT_AUDIO = 1, 2


@dataclass(frozen=True)
class Hello:
    """What a device is."""

    version: int
    stride: int
    cutoff: int
    window: int
    model_id: str
    """First 16 digits of the model's SHA-256."""
    phrase: str


@dataclass(frozen=True)
class Event:
    """The phrase was heard."""

    number: int
    """How many there were, this one included; 16 bits."""
    frame: int
    """Slices of 10 ms since the device began to listen."""
    mean: int
    """Of the last scores, 0 to 255."""
    peak: int


@dataclass(frozen=True)
class Status:
    """A sign of life, every second of sound."""

    frame: int
    last: Event | None
    """The last event, told once more."""
    bad_frames: int
    """That the device received."""
    dropped: int
    """Frames that the device had no room for."""


@dataclass(frozen=True)
class Trace:
    """Scores of consecutive steps."""

    frame: int
    """At the end of the first step."""
    scores: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Audio:
    """Sound that the device hears."""

    first_sample: int
    pcm: npt.NDArray[np.int16]


Message = Hello | Event | Status | Trace | Audio


@dataclass
class LinkCounts:
    """What was wrong on a line."""

    damaged: int = 0
    """Frames of wrong length, checksum or contents, and noise between frames."""
    overlong: int = 0
    """Runs of bytes without a zero that were too long for a frame."""
    missing: int = 0
    """Frames that never came, by the gaps in their numbers."""


@dataclass
class Deframer:
    """Finds messages in the bytes of a line, in pieces of any size."""

    counts: LinkCounts = field(default_factory=LinkCounts)
    _partial: bytearray = field(default_factory=bytearray)
    _overlong: bool = False
    _next: int | None = None

    def feed(self, data: bytes) -> list[Message]:
        """Messages that these bytes complete."""
        *ended, rest = data.split(b"\x00")
        messages = []
        for piece in ended:
            self._take(piece)
            message = self._end()
            messages += [message] if message is not None else []
        self._take(rest)
        return messages

    def _take(self, piece: bytes) -> None:
        if len(self._partial) + len(piece) > MAX_ENCODED:
            self._partial.clear()
            self._overlong = True
        if not self._overlong:
            self._partial += piece

    def _end(self) -> Message | None:
        encoded, overlong = bytes(self._partial), self._overlong
        self._partial.clear()
        self._overlong = False
        if overlong:
            self.counts.overlong += 1
        if overlong or not encoded:
            return None
        payload = unpack(encoded)
        message = None if payload is None else parse(payload[0], payload[2:])
        if payload is None or message is None:
            self.counts.damaged += 1
            return None
        self._follow(payload[1], isinstance(message, Hello))
        return message

    def _follow(self, sequence: int, is_hello: bool) -> None:
        if self._next is not None and not (is_hello and sequence == 0):  # 0 with a greeting: it restarted
            self.counts.missing += (sequence - self._next) % 256
        self._next = (sequence + 1) % 256


def frame(kind: int, sequence: int, body: bytes) -> bytes:
    """A frame as it goes over the line."""
    payload = bytes((kind, sequence % 256)) + body
    return b"\x00" + stuff(payload + struct.pack("<H", crc(payload))) + b"\x00"


def ask(sequence: int, wants: int) -> bytes:
    """The host's frame: who are you, and send WANT_TRACE and WANT_AUDIO."""
    return frame(ASK, sequence, bytes((wants,)))


def crc(data: bytes) -> int:
    """CRC-16/CCITT-FALSE."""
    return binascii.crc_hqx(data, 0xFFFF)


def stuff(data: bytes) -> bytes:
    """COBS of at most 253 bytes: no zeros are left."""
    return b"".join(bytes((len(part) + 1,)) + part for part in data.split(b"\x00"))


def unpack(encoded: bytes) -> bytes | None:
    """Type, sequence and body of what lay between two zeros; None where it is damaged."""
    parts, at = [], 0
    while at < len(encoded):
        end = at + encoded[at]
        if end > len(encoded):
            return None
        parts.append(encoded[at + 1 : end])
        at = end
    payload = b"\x00".join(parts)
    if len(payload) < 4 or crc(payload[:-2]) != int.from_bytes(payload[-2:], "little"):
        return None
    return payload[:-2]


def parse(kind: int, body: bytes) -> Message | None:
    """What a frame says; None where its length or contents are wrong, or its type unknown."""
    try:
        return _PARSERS[kind](body) if kind in _PARSERS else None
    except (struct.error, ValueError):
        return None


def _hello(body: bytes) -> Hello:
    version, stride, cutoff, window = struct.unpack_from("<4B", body)
    if version != VERSION:
        # Another version may have more to say; what it calls itself is enough to refuse it politely.
        return Hello(version, stride, cutoff, window, "", "")
    if not (stride and cutoff and window and len(body) > 12):
        raise ValueError("an empty greeting")
    return Hello(version, stride, cutoff, window, body[4:12].hex(), body[12:].decode())


def _event(body: bytes) -> Event:
    return Event(*struct.unpack("<HIBB", body))


def _status(body: bytes) -> Status:
    position, number, heard, mean, peak, bad, dropped = struct.unpack("<IHIBBHH", body)
    last = Event(number, heard, mean, peak) if number else None
    return Status(position, last, bad, dropped)


def _trace(body: bytes) -> Trace:
    (position,) = struct.unpack_from("<I", body)
    return Trace(position, np.frombuffer(body, dtype=np.uint8, offset=4))


def _audio(body: bytes) -> Audio:
    (first,) = struct.unpack_from("<I", body)
    return Audio(first, np.frombuffer(body, dtype="<i2", offset=4))


_PARSERS: Mapping[int, Callable[[bytes], Message]] = {
    HELLO: _hello,
    EVENT: _event,
    STATUS: _status,
    TRACE: _trace,
    AUDIO: _audio,
}
