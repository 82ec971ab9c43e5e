"""Models shared by every stream of sound, and replaced between two hops of each.

engine = Engine(hub, [load_model(settings, folder)])
stream = engine.open("kitchen")          # one per source of sound
stream.feed(samples); stream.close()     # publishes Heard, Clip, Pulse … on the hub
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from wakeword.audio import HOP_S, SAMPLE_RATE, Samples, as_float
from wakeword.decision import Detection
from wakeword.detector import Detector
from wakeword.errors import UsageError
from wakeword.listen.clips import Clips
from wakeword.listen.events import Heard, Lost, SourceState
from wakeword.listen.history import History
from wakeword.listen.hub import Hub
from wakeword.listen.loaded import Loaded
from wakeword.listen.pulse import PulseMaker
from wakeword.listen.settings import ClipSettings
from wakeword.listen.voices import VOICE_S
from wakeword.manifest import Manifest
from wakeword.scorer import hops_to_fill


class Engine:
    """The models in use, and the streams they listen to. Thread-safe."""

    def __init__(self, hub: Hub, loaded: Sequence[Loaded], clip: ClipSettings | None = None) -> None:
        self.hub = hub
        self.clip = clip or ClipSettings()
        self.streams: dict[str, Stream] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.loaded = _checked(loaded)

    @property
    def phrases(self) -> tuple[str, ...]:
        """All phrases, each once."""
        return tuple(dict.fromkeys(phrase for one in self.loaded for phrase in one.phrases))

    @property
    def thresholds(self) -> dict[str, float]:
        """phrase -> the posterior at which it fires (the lowest, where several models have it)."""
        found: dict[str, float] = {}
        for one in self.loaded:
            for phrase, threshold in zip(one.phrases, one.thresholds, strict=True):
                found[phrase] = min(threshold, found.get(phrase, 1.0))
        return found

    def swap(self, loaded: Sequence[Loaded]) -> None:
        """Listen with these models from the next hop of each stream on; no sound is lost over it."""
        self.loaded = _checked(loaded)

    def open(self, name: str, what: str = "", wanted: Collection[str] | None = None) -> Stream:
        """Begin a stream. UsageError for a name in use, or a phrase that no model has.

        Args:
            name: its name in events, such as "wyoming 192.168.1.7:51234".
            what: for people: the device, the address.
            wanted: phrases to report; None = all.
        """
        stream = Stream(self, name, what or name)
        stream.want(wanted)
        with self._lock:
            if name in self.streams:
                raise UsageError(f"a stream named {name!r} is open already")
            self.streams = {**self.streams, name: stream}
        self.hub.publish(SourceState(name, "listening", stream.what))
        return stream

    def number(self) -> int:
        """The number of the next detection."""
        return next(self._numbers)

    def forget(self, stream: Stream) -> None:
        """Called by a stream that was closed."""
        with self._lock:
            self.streams = {name: one for name, one in self.streams.items() if one is not stream}


def _checked(loaded: Sequence[Loaded]) -> tuple[Loaded, ...]:
    if not loaded:
        raise UsageError("no model to listen with; name at least one .wakeword file")
    return tuple(loaded)


class Stream:
    """One source of sound, heard by a detector of each model. Fed by one thread at a time."""

    def __init__(self, engine: Engine, name: str, what: str) -> None:
        self.name, self.what = name, what
        self._engine, self._hub = engine, engine.hub
        self._wanted: frozenset[str] | None = None
        clip = engine.clip
        keep_s = max(_memory_s(engine.loaded), clip.pre_s + clip.post_s + 1, VOICE_S)
        self._history = History(int(keep_s * SAMPLE_RATE))
        self._clips = Clips(self._hub, self._history, clip)
        self._pulse = PulseMaker(name)
        self._loaded = engine.loaded
        self._detectors: list[Detector] = [one.detector() for one in self._loaded]

    @property
    def time_s(self) -> float:
        """Sound so far, what was lost included."""
        return self._history.end / SAMPLE_RATE

    def want(self, phrases: Collection[str] | None) -> None:
        """Report these phrases only (None: all); UsageError for one that no model has."""
        known = self._engine.phrases
        if phrases is not None and (unknown := sorted(set(phrases) - set(known))):
            raise UsageError(f"no phrase {unknown[0]!r}; choose from {', '.join(known)}")
        self._wanted = None if phrases is None else frozenset(phrases)

    def feed(self, samples: npt.NDArray[np.generic], lag_s: float = 0.0) -> list[Heard]:
        """Take mono 16 kHz int16 or float32 samples [N] of any number; publish and return what was heard.

        Args:
            samples: the next of this stream.
            lag_s: how much sound waits behind them, for the metrics.

        AudioError for samples of another type or scale: the stream is then as it was.
        """
        heard: list[Heard] = []
        for piece in self._pieces(as_float(samples)):
            began_s = time.thread_time()
            new = self._hear(piece)
            heard += new
            self._clips.advance(new)
            self._pulse.add(piece, self._detectors, time.thread_time() - began_s)
            if (pulse := self._pulse.due(self.time_s, lag_s)) is not None:
                self._hub.publish(pulse)
        return heard

    def skip(self, n_samples: int) -> None:
        """Go on after a hole of that many samples, sound that was lost: time counts it."""
        self._clips.flush()
        for detector in self._detectors:
            detector.skip(n_samples)
        self._history.restart(self._history.end + n_samples)
        self._hub.publish(Lost(self.name, n_samples / SAMPLE_RATE))

    def close(self, why: str = "") -> None:
        """End the stream; publishes the clips that were not complete. May be called twice."""
        if self._engine.streams.get(self.name) is not self:
            return
        self._clips.flush()
        self._engine.forget(self)
        self._hub.publish(SourceState(self.name, "ended", why or self.what))

    def _pieces(self, samples: Samples) -> Iterator[Samples]:
        """Cut at the ends of hops."""
        while len(samples):
            n = min(len(samples), self._history.until_hop())
            yield samples[:n]
            samples = samples[n:]

    def _hear(self, piece: Samples) -> list[Heard]:
        if self._loaded is not self._engine.loaded:
            self._follow()
        self._history.append(piece)
        heard_by = zip(self._loaded, self._detectors, strict=True)
        found = [(one, event) for one, detector in heard_by for event in detector.feed(piece)]
        named = [(one.name, self._named(one, event)) for one, event in found if self._is_wanted(event.phrase)]
        return [self._report(model, event) for model, event in named if event is not None]

    def _named(self, one: Loaded, event: Detection) -> Detection | None:
        """With its speaker where that is asked for; None where the speaker may not."""
        if one.voices is None:
            return event
        _, sound = self._history.cut(self._history.end - int(VOICE_S * SAMPLE_RATE), self._history.end)
        return one.voices.ask(event, sound)

    def _is_wanted(self, phrase: str) -> bool:
        return self._wanted is None or phrase in self._wanted

    def _report(self, model: str, event: Detection) -> Heard:
        heard = Heard(self._engine.number(), event, model, self.name, time.time())
        self._hub.publish(heard)
        return heard

    def _follow(self) -> None:
        """Take the engine's new models: they hear the last seconds first and go on where the old are."""
        old = list(zip(self._loaded, self._detectors, strict=True))
        self._loaded = self._engine.loaded
        start, sound = self._history.cut(self._history.start, self._history.end)
        self._detectors = [one.detector() for one in self._loaded]
        for one, detector in zip(self._loaded, self._detectors, strict=True):
            same_first = sorted(old, key=lambda pair: pair[0].name != one.name)
            detector.join(start, sound, [other for _, other in same_first])


def _memory_s(loaded: Sequence[Loaded]) -> float:
    """Sound after which a new detector is where one that has always listened is."""
    return max(_memory_hops(one.models.manifest) for one in loaded) * HOP_S


def _memory_hops(manifest: Manifest) -> int:
    student = manifest.student
    before = max(student.hangover_hops, student.evidence_hops) if student else 0
    return hops_to_fill(manifest) + manifest.decision.smoothing_hops + before + 4
