"""One Wyoming client: its events in, ours out.

A client that sends sound has it heard by detectors of its own and gets what is found there. A client that
asks to `detect` and sends no sound gets what our own microphone hears.

    describe -> info                    detect {names} -> error, where a name is unknown
    audio-start, audio-chunk … -> detection …         audio-stop -> not-detected, where there was none
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
from wyoming.audio import AudioChunk, AudioStart
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.errors import AudioError, WakewordError
from wakeword.listen.engine import Engine, Stream
from wakeword.listen.events import MICROPHONE, Heard
from wakeword.listen.hub import Subscription
from wakeword.listen.sources import MonoStream
from wakeword.listen.wyoming_events import Names, ProtocolError, decode_chunk, describe

TAIL_SAMPLES = SAMPLE_RATE
"""Silence after sound that ends, so that a phrase at its very end is heard out."""
SEND_S = 5.0
"""A client that takes nothing for this long has vanished."""
PIECE_SAMPLES = SAMPLE_RATE // 2
"""Sound given to the detectors at once: a client that sends much does not keep others waiting."""


class Audio:
    """The sound that a client sends, from audio-start to audio-stop: any format in, 16 kHz mono out."""

    def __init__(self, stream: Stream, rate: int, what: str) -> None:
        self.stream = stream
        self.rate = rate
        self.detected = False
        self._mono = MonoStream(rate, what)
        self._n_samples = 0
        self._offset_ms = 0.0

    def take(self, chunk: AudioChunk, arrived_s: float) -> list[Heard]:
        """Listen to a chunk that came at `arrived_s` (monotonic clock). Runs in a worker. AudioError."""
        if chunk.rate != self.rate:
            raise AudioError(f"sound at {chunk.rate!r} Hz after audio-start at {self.rate} Hz")
        block = decode_chunk(chunk)
        if isinstance(chunk.timestamp, int):
            self._offset_ms = chunk.timestamp - 1000 * self._n_samples / self.rate
        self._n_samples += len(block)
        return self._feed(self._mono.feed(block), time.monotonic() - arrived_s)

    def finish(self) -> list[Heard]:
        """Listen to what the resampler holds and a second of silence."""
        return self._feed(np.concatenate([self._mono.flush(), np.zeros(TAIL_SAMPLES, dtype=np.float32)]))

    def timestamp(self, heard: Heard) -> int:
        """When it was heard, in ms, by the client's own timestamps; else from its first sample."""
        return round(1000 * heard.detection.time_s + self._offset_ms)

    def _feed(self, samples: Samples, lag_s: float = 0.0) -> list[Heard]:
        pieces = [samples[i : i + PIECE_SAMPLES] for i in range(0, len(samples), PIECE_SAMPLES)]
        return [heard for piece in pieces for heard in self.stream.feed(piece, lag_s)]


class Session:
    """What one client asked for, and where it stands. Used from one event loop."""

    def __init__(
        self, engine: Engine, writer: asyncio.StreamWriter, peer: str, workers: Executor, microphone: bool
    ) -> None:
        """Serve `peer`. `workers` run the detectors; `microphone`: whether we have one to report of."""
        self._engine, self._writer, self._peer = engine, writer, peer
        self._workers, self._microphone = workers, microphone
        self._wanted: tuple[str, ...] | None = None
        self._spelling: dict[str, str] = {}
        self._refused = ""
        self._sends_sound = False
        self._audio: Audio | None = None
        self._own: tuple[Subscription[Heard], asyncio.Task[None]] | None = None
        self._sending = asyncio.Lock()

    async def handle(self, event: Event) -> None:
        """Answer an event; those that are not for us are passed over. WakewordError ends the session."""
        if answer := ANSWERS.get(event.type):
            try:
                await answer(self, event)
            except (KeyError, TypeError) as err:
                raise ProtocolError(f"{event.type} lacks or misuses {err}") from err

    async def close(self, why: str) -> None:
        """Let go of everything; may be called twice."""
        self._forget_microphone()
        if self._audio is not None:
            audio, self._audio = self._audio, None
            await self._in_worker(audio.stream.close, why)

    async def send_error(self, text: str, code: str) -> None:
        """Tell the client what is wrong."""
        await self._send(Error(text=text, code=code).event())

    async def _describe(self, event: Event) -> None:
        await self._send(describe(self._engine.loaded, self._names()).event())

    async def _ping(self, event: Event) -> None:
        await self._send(Pong(text=Ping.from_event(event).text).event())

    async def _detect(self, event: Event) -> None:
        self._forget_microphone()
        asked = Detect.from_event(event).names or []
        if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
            raise ProtocolError("names of detect must be a list of texts")
        names = self._names()
        unknown = [name for name in asked if names.phrase(name) is None]
        if unknown:
            self._refused = f"no wake word {unknown[0]!r} here; choose from {', '.join(names.all)}"
            await self.send_error(self._refused, "unknown-wake-word")
            return
        self._refused = ""
        # A client that asks for "hey nova" must get "hey nova" back, not "hey_nova".
        self._spelling = {names.phrase(name) or name: name for name in asked}
        self._wanted = tuple(self._spelling) if asked else None
        if self._audio is not None:
            self._audio.stream.want(self._wanted)
        elif self._microphone and not self._sends_sound:
            self._follow_microphone()

    async def _start(self, event: Event) -> None:
        self._forget_microphone()
        self._sends_sound = True
        await self.close("it began anew")
        start = AudioStart.from_event(event)
        if type(start.rate) is not int:
            raise ProtocolError("rate of audio-start must be a whole number")
        await self._open(start.rate)

    async def _chunk(self, event: Event) -> None:
        chunk = AudioChunk.from_event(event)
        if self._audio is None:  # some clients do not send audio-start
            self._forget_microphone()
            self._sends_sound = True
            await self._open(chunk.rate)
        if self._refused:
            raise WakewordError(self._refused)
        assert self._audio is not None
        await self._report(self._audio, await self._in_worker(self._audio.take, chunk, time.monotonic()))

    async def _stop(self, event: Event) -> None:
        audio, self._audio = self._audio, None
        if audio is None:
            return
        await self._report(audio, await self._in_worker(audio.finish))
        await self._in_worker(audio.stream.close, "audio-stop")
        if not audio.detected:
            await self._send(NotDetected().event())

    async def _open(self, rate: int) -> None:
        wanted = self._wanted if not self._refused else ()
        stream = await self._in_worker(self._engine.open, self._peer, self._peer, wanted)
        try:
            self._audio = Audio(stream, rate, self._peer)
        except BaseException:
            stream.close("not a stream of sound")
            raise

    async def _report(self, audio: Audio, found: list[Heard]) -> None:
        for heard in found:
            audio.detected = True
            await self._send(self._detection(heard, audio.timestamp(heard)))

    def _follow_microphone(self) -> None:
        events = self._engine.hub.subscribe(self._peer, Heard, size=32)
        self._own = (events, asyncio.ensure_future(self._pass_on(events)))

    def _forget_microphone(self) -> None:
        if self._own is not None:
            events, task = self._own
            self._own = None
            events.close()
            task.cancel()

    async def _pass_on(self, events: Subscription[Heard]) -> None:
        async for heard in events:
            if heard.stream == MICROPHONE and (
                self._wanted is None or heard.detection.phrase in self._wanted
            ):
                await self._send(self._detection(heard, round(1000 * heard.detection.time_s)))

    def _detection(self, heard: Heard, timestamp: int) -> Event:
        phrase = heard.detection.phrase
        name = self._spelling.get(phrase) or self._names().name(phrase)
        return Detection(name=name, timestamp=timestamp, speaker=heard.detection.speaker).event()

    def _names(self) -> Names:
        return Names(self._engine.phrases)

    async def _send(self, event: Event) -> None:
        async with self._sending:  # an answer and a detection of the microphone must not mix
            await asyncio.wait_for(async_write_event(event, self._writer), SEND_S)

    async def _in_worker(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work, *args)


# Not in the object: it would refer to itself, and stay until a garbage collection when its client has left.
ANSWERS: dict[str, Callable[[Session, Event], Any]] = {
    "describe": Session._describe,
    "ping": Session._ping,
    "detect": Session._detect,
    "audio-start": Session._start,
    "audio-chunk": Session._chunk,
    "audio-stop": Session._stop,
}
