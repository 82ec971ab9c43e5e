"""What a listener tells those who subscribe to its hub (`wakeword.listen.hub`): frozen values."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Literal, TypeAlias

from wakeword.audio import SAMPLE_RATE, Samples, as_int16
from wakeword.decision import Detection

MICROPHONE = "microphone"
"""Name of the stream of this computer's microphone, file or pipe; network streams have names of their own."""


@dataclass(frozen=True)
class Heard:
    """A phrase was spoken. Published within the hop that fired."""

    number: int
    """Counts the detections of this process, from 1: the same event has the same number everywhere."""
    detection: Detection
    """Phrase, time in its stream, score, threshold."""
    model: str
    """Name of the model (its manifest's)."""
    stream: str
    at: float
    """Wall-clock time when it was found, in seconds since 1970."""

    @property
    def at_utc(self) -> str:
        """`at` as 2026-11-25T20:11:23.123Z."""
        moment = datetime.fromtimestamp(self.at, timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def as_dict(self) -> dict[str, str | float | int]:
        """What every output says of it, as JSON has it; numbers rounded."""
        known = {k: v for k, v in asdict(self.detection).items() if v is not None}
        told = {k: round(v, 4) if isinstance(v, float) else v for k, v in known.items()}
        named = {"model": self.model, "stream": self.stream, "at": self.at_utc, "number": self.number}
        return told | named


@dataclass(frozen=True)
class Clip:
    """The sound around a `Heard`, once it is complete: `clip.post_s` after it, or as its stream ends."""

    heard: Heard
    samples: Samples
    """Mono float32 at 16 kHz [n]."""
    begins_s: float
    """Time in the stream of the first sample."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE

    def wav(self) -> bytes:
        """As a WAV file, 16 bits."""
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes(as_int16(self.samples).astype("<i2").tobytes())
        return file.getvalue()


@dataclass(frozen=True)
class Pulse:
    """What a stream did since its last pulse; about four a second of its sound."""

    stream: str
    time_s: float
    """Time in the stream."""
    at: float
    """Wall-clock time in seconds since 1970."""
    seconds: float
    """Sound heard."""
    hops: int
    """Hops scored, of each model."""
    verified: int
    """Hops on which a verifier ran, over all models."""
    lag_s: float
    """Sound that waits, as far as the source knows; else 0."""
    cpu_s: float
    """Seconds of this thread's processor time spent on it."""
    level_dbfs: float
    peak_dbfs: float
    scores: Mapping[str, float]
    """phrase -> highest smoothed posterior."""


@dataclass(frozen=True)
class SourceState:
    """A stream began, lost its source, found it again, or ended."""

    stream: str
    state: Literal["listening", "lost", "ended"]
    what: str
    """For people: the device's name, the client's address, or why it was lost."""
    returns: int = 0
    """Times that it was lost and came back so far."""


@dataclass(frozen=True)
class Lost:
    """Sound was lost: a listener too slow, or a microphone away."""

    stream: str
    seconds: float


@dataclass(frozen=True)
class Reloaded:
    """Other models, thresholds or settings are in force from now on."""

    phrases: tuple[str, ...]
    thresholds: Mapping[str, float]
    what: str
    """For people: which file."""


@dataclass(frozen=True)
class Problem:
    """Something failed; listening goes on. Published each time, logged once until it is `solved`."""

    where: str
    """webhook, mqtt, save, reload …: with `what`, its identity."""
    what: str
    """For people: what came, what to do."""
    solved: bool = False
    """True once it works again."""


Event: TypeAlias = Heard | Clip | Pulse | SourceState | Lost | Reloaded | Problem
