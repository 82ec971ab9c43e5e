"""What the web page shows: the last minute of every stream, and the last detections with their sound."""

from __future__ import annotations

import io
import time
import wave
from collections import deque
from typing import TYPE_CHECKING, Any

import wakeword
from wakeword.audio import SAMPLE_RATE, Samples, as_int16
from wakeword.listen.events import Clip, Event, Heard, Lost, Problem, Pulse, Reloaded, SourceState

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

DETECTIONS = 50
"""Kept with their sound: 5 MB of clips of three seconds."""
PULSES = 250
"""A minute of them, of one stream."""
STREAMS = 12
"""Streams whose last minute is kept; of more, the oldest are left out."""
STUCK_S = 10.0
"""A loop that has not turned for this long is stuck."""


class Picture:
    """Collects from the hub's events; used from one thread."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._pulses: dict[str, deque[dict[str, Any]]] = {}
        self._sources: dict[str, dict[str, Any]] = {}
        self._heard: deque[dict[str, Any]] = deque(maxlen=DETECTIONS)
        self._clips: dict[int, bytes] = {}
        self._problems: dict[str, str] = {}

    def take(self, event: Event) -> None:
        """Take an event into the picture."""
        if isinstance(event, Pulse):
            self._keep_pulse(event)
        elif isinstance(event, Heard):
            self._heard.append(heard_dict(event))
        elif isinstance(event, Clip):
            self._keep_clip(event)
        elif isinstance(event, SourceState):
            self._keep_source(event)
        elif isinstance(event, Problem) and event.solved:
            self._problems.pop(event.where, None)
        elif isinstance(event, Problem):
            self._problems[event.where] = event.what

    def wav(self, number: int) -> bytes | None:
        """The sound around a detection as a WAV file; None where it is not kept (any more)."""
        return self._clips.get(number)

    def state(self) -> dict[str, Any]:
        """All that a page needs at its start."""
        listener = self._listener
        return {
            "version": wakeword.__version__,
            "since": listener.since,
            "saving": listener.saving,
            "writes_back": listener.config is not None,
            "models": [{"name": one.name, "mode": one.models.mode} for one in listener.engine.loaded],
            "phrases": phrases(listener),
            "sources": self._sources,
            "history": {stream: list(pulses) for stream, pulses in self._pulses.items()},
            "detections": list(self._heard),
            "problems": self._problems,
        }

    def health(self) -> dict[str, Any]:
        """Whether it listens: `ok`, `deaf` (a source is lost) or `stuck` (the loop does not turn)."""
        age_s = time.monotonic() - self._listener.turned_s
        lost = [name for name, source in self._sources.items() if source["state"] == "lost"]
        status = "stuck" if age_s > STUCK_S else "deaf" if lost else "ok"
        return {"status": status, "loop_age_s": round(age_s, 1), "saving_audio": self._listener.saving}

    def _keep_pulse(self, pulse: Pulse) -> None:
        if pulse.stream not in self._pulses:
            while len(self._pulses) >= STREAMS:
                del self._pulses[next(iter(self._pulses))]
            self._pulses[pulse.stream] = deque(maxlen=PULSES)
        self._pulses[pulse.stream].append(pulse_dict(pulse))

    def _keep_clip(self, clip: Clip) -> None:
        self._clips[clip.heard.number] = wav_bytes(clip.samples)
        while len(self._clips) > DETECTIONS:
            del self._clips[min(self._clips)]
        for heard in self._heard:
            if heard["number"] == clip.heard.number:
                heard["has_clip"] = True

    def _keep_source(self, state: SourceState) -> None:
        if state.state == "ended":
            self._sources.pop(state.stream, None)
            self._pulses.pop(state.stream, None)
        else:
            self._sources[state.stream] = {
                "state": state.state, "what": state.what, "returns": state.returns
            }  # fmt: skip


def phrases(listener: Listener) -> list[dict[str, Any]]:
    """Every phrase with where it fires, and where else it could."""
    found: dict[str, dict[str, Any]] = {}
    for one in listener.engine.loaded:
        for phrase, threshold in zip(one.phrases, one.thresholds, strict=True):
            rates = one.rates(phrase)
            chosen = next((rate for rate, value in rates.items() if value == threshold), None)
            entry = {"phrase": phrase, "threshold": threshold, "fa_per_hour": chosen, "rates": sorted(rates)}
            found.setdefault(phrase, entry)
    return list(found.values())


def event_dict(event: Event) -> dict[str, Any] | None:
    """An event as the page takes it; None for those it does not show."""
    if isinstance(event, Pulse):
        return {"kind": "pulse", "stream": event.stream, **pulse_dict(event)}
    if isinstance(event, Heard):
        return {"kind": "heard", **heard_dict(event)}
    if isinstance(event, Clip):
        return {"kind": "clip", "number": event.heard.number}
    if isinstance(event, SourceState | Problem | Reloaded):
        return {"kind": "changed"}
    if isinstance(event, Lost):
        return {"kind": "lost", "stream": event.stream, "seconds": round(event.seconds, 2)}
    return None


def pulse_dict(pulse: Pulse) -> dict[str, Any]:
    """A pulse, in few characters: there are four a second."""
    return {
        "at": round(pulse.at, 2),
        "level": round(pulse.level_dbfs, 1),
        "peak": round(pulse.peak_dbfs, 1),
        "lag": round(pulse.lag_s, 3),
        "scores": {phrase: round(score, 4) for phrase, score in pulse.scores.items()},
    }


def heard_dict(heard: Heard) -> dict[str, Any]:
    """A detection."""
    return {
        "number": heard.number,
        "phrase": heard.detection.phrase,
        "score": round(heard.detection.score, 4),
        "threshold": round(heard.detection.threshold, 4),
        "stream": heard.stream,
        "model": heard.model,
        "speaker": heard.detection.speaker,
        "at": round(heard.at, 2),
        "has_clip": False,
    }


def wav_bytes(samples: Samples) -> bytes:
    """Mono 16 kHz samples [n] as a 16-bit WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(as_int16(samples).astype("<i2").tobytes())
    return file.getvalue()
