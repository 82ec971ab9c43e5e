"""Events of the Wyoming protocol between a socket and us: read within limits, described, turned into sound.

The `wyoming` package defines the events. Its own reader takes whatever length a peer announces; here a peer
that is broken or hostile costs a few kilobytes.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from wyoming.audio import AudioChunk
from wyoming.event import Event
from wyoming.info import Attribution, Info, WakeModel, WakeProgram

import wakeword
from wakeword.errors import AudioError, WakewordError
from wakeword.listen.loaded import Loaded
from wakeword.listen.sources import MAX_CHANNELS

LINE_BYTES = 64 << 10
DATA_BYTES = 64 << 10
PAYLOAD_BYTES = 1 << 20
"""Sound in one event: 32 s of 16 kHz, 5 s of 48 kHz stereo; usual are 20 to 100 ms."""
REST_S = 10.0
"""An event whose beginning came must be complete within this."""
WIDTHS = {1: "u1", 2: "<i2", 3: "", 4: "<i4"}
"""Bytes of a sample -> how numpy calls it."""
INT24_BYTES = 3


class ProtocolError(WakewordError):
    """A peer that does not speak Wyoming, or too much of it."""


async def read_event(reader: asyncio.StreamReader, patience_s: float | None = None) -> Event | None:
    """The next event; None where the peer hung up between events. ProtocolError for anything else.

    An event that has begun must be complete within 10 s; for its beginning the peer may take `patience_s`, or
    as long as it likes.
    """
    try:
        begun = await asyncio.wait_for(reader.read(1), patience_s)
    except asyncio.TimeoutError as err:
        raise ProtocolError(f"said nothing for {patience_s:g} s") from err
    if not begun:
        return None
    try:
        return await asyncio.wait_for(_rest(reader, begun), REST_S)
    except asyncio.IncompleteReadError as err:
        raise ProtocolError("hung up in the middle of an event") from err
    except asyncio.TimeoutError as err:
        raise ProtocolError(f"an event was not complete within {REST_S:g} s") from err


async def _rest(reader: asyncio.StreamReader, begun: bytes) -> Event:
    try:
        header = _json_object(begun + await reader.readline())
    except ValueError as err:  # asyncio's, for a line over the limit of the reader
        raise ProtocolError(f"a line of more than {LINE_BYTES} bytes") from err
    kind = header.get("type")
    if not isinstance(kind, str):
        raise ProtocolError("an event without a type")
    data = header.get("data") or {}
    if not isinstance(data, dict):
        raise ProtocolError("an event whose data is no object")
    if n_bytes := _length(header, "data_length", DATA_BYTES):
        data |= _json_object(await reader.readexactly(n_bytes))
    n_bytes = _length(header, "payload_length", PAYLOAD_BYTES)
    payload = await reader.readexactly(n_bytes) if n_bytes else None
    return Event(type=kind, data=data, payload=payload)


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ProtocolError("an event that is not JSON") from err
    if not isinstance(value, dict):
        raise ProtocolError("an event that is no JSON object")
    return value


def _length(header: dict[str, Any], key: str, most: int) -> int:
    n_bytes = header.get(key) or 0
    if type(n_bytes) is not int or not 0 <= n_bytes <= most:
        raise ProtocolError(f"{key} of an event must be 0 to {most}")
    return n_bytes


def decode_chunk(chunk: AudioChunk) -> npt.NDArray[np.float32] | npt.NDArray[np.int16]:
    """Samples [N, C] of a chunk of 8, 16, 24 or 32 bits, as int16 or float32 in [-1, 1]. AudioError."""
    width, channels = chunk.width, chunk.channels
    if type(width) is not int or width not in WIDTHS:
        raise AudioError(f"samples of {width!r} bytes; 1 to 4 are known")
    if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{channels!r} channels; 1 to {MAX_CHANNELS} are known")
    if len(chunk.audio) % (width * channels):
        raise AudioError(f"{len(chunk.audio)} bytes are no whole number of samples")
    return _as_numbers(chunk.audio, width).reshape(-1, channels)


def _as_numbers(audio: bytes, width: int) -> npt.NDArray[np.float32] | npt.NDArray[np.int16]:
    if width == INT24_BYTES:
        padded = np.zeros((len(audio) // width, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(audio, np.uint8).reshape(-1, width)
        return (padded.reshape(-1).view("<i4") / 2.0**31).astype(np.float32)
    numbers = np.frombuffer(audio, WIDTHS[width])
    if width == 1:  # unsigned, as in WAV files
        return ((numbers.astype(np.float32) - 128) / 128).astype(np.float32)
    return numbers.astype(np.int16) if width == 2 else (numbers / 2.0**31).astype(np.float32)


class Names:
    """What models are called on the wire: `hey nova` is `hey_nova`, and is known by both."""

    def __init__(self, phrases: tuple[str, ...]) -> None:
        slugs = ["_".join(phrase.lower().split()) for phrase in phrases]
        self._name = {
            phrase: slug if slugs.count(slug) == 1 else phrase
            for phrase, slug in zip(phrases, slugs, strict=True)
        }
        self._phrase = {name: phrase for phrase, name in self._name.items()}

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return tuple(self._phrase)

    def name(self, phrase: str) -> str:
        """The name of a phrase."""
        return self._name.get(phrase, phrase)

    def phrase(self, name: str) -> str | None:
        """The phrase that a peer means, by its name or the phrase itself; None where there is none."""
        return self._phrase.get(name, name if name in self._name else None)


def describe(loaded: tuple[Loaded, ...], names: Names) -> Info:
    """What we offer: a model for each phrase."""
    us = Attribution(name="wakeword", url="")
    models = {
        phrase: WakeModel(
            name=names.name(phrase),
            description=phrase,
            phrase=phrase,
            attribution=us,
            installed=True,
            version=one.models.manifest.wakeword_version or None,
            languages=["en"] if one.models.manifest.encoder.endswith(".en") else [],
        )
        for one in loaded
        for phrase in one.phrases
    }
    program = WakeProgram(
        name="wakeword",
        description="Wake words from a pretrained speech encoder",
        attribution=us,
        installed=True,
        version=wakeword.__version__,
        models=list(models.values()),
    )
    return Info(wake=[program])
