"""What one device says, as the hub's events: detections, its sound as clips, its scores as pulses."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from firmware_bridge.bridge import SLICE_MS, EventFilter
from firmware_bridge.frames import Audio, Hello, Message, Trace
from wakeword.audio import SAMPLE_RATE, Samples, as_float
from wakeword.listen.clips import Clips
from wakeword.listen.engine import Engine
from wakeword.listen.events import Heard, Lost, Pulse
from wakeword.listen.history import History

SILENT_DBFS = -120.0
"""Level of a pulse from a device that does not send its sound."""


class DeviceStream:
    """Publishes on the engine's hub. `on_message`, if given, is called with everything that comes."""

    def __init__(
        self, engine: Engine, name: str, hello: Hello, on_message: Callable[[Message], None] | None = None
    ) -> None:
        self.name, self.hello = name, hello
        self.events = EventFilter(hello)
        self._engine, self._hub, self._on_message = engine, engine.hub, on_message
        clip = engine.clip
        self._history = History(int((clip.pre_s + clip.post_s + 1) * SAMPLE_RATE))
        self._clips = Clips(self._hub, self._history, clip)
        self._has_sound = False
        self._level = self._peak = SILENT_DBFS

    def take(self, message: Message) -> None:
        """Publish what a message means."""
        if self._on_message is not None:
            self._on_message(message)
        heard = []
        if (detection := self.events.feed(message)) is not None:
            number = self._engine.number()
            model = f"device {self.hello.model_id}"
            heard.append(Heard(number, detection, model, self.name, time.time()))
            self._hub.publish(heard[0])
        if isinstance(message, Audio):
            self._sound(message)
        if isinstance(message, Trace):
            self._hub.publish(self._pulse(message))
        if self._has_sound:
            self._clips.advance(heard)

    def close(self) -> None:
        """Publish the clips that were not complete."""
        if self._has_sound:
            self._clips.flush()

    def _sound(self, audio: Audio) -> None:
        samples = as_float(audio.pcm.astype(np.int16))
        if not self._has_sound:
            self._history.restart(audio.first_sample)
        elif (missing := audio.first_sample - self._history.end) != 0:
            self._clips.flush()
            self._history.restart(audio.first_sample)
            self._hub.publish(Lost(self.name, max(missing, 0) / SAMPLE_RATE))
        self._has_sound = True
        self._history.append(samples)
        self._level, self._peak = _levels(samples)

    def _pulse(self, trace: Trace) -> Pulse:
        step_s = self.hello.stride * SLICE_MS / 1000
        n_steps = len(trace.scores)
        return Pulse(
            stream=self.name,
            time_s=trace.frame * SLICE_MS / 1000 + (n_steps - 1) * step_s,
            at=time.time(),
            seconds=n_steps * step_s,
            hops=n_steps,
            verified=0,
            lag_s=0.0,
            cpu_s=0.0,
            level_dbfs=self._level,
            peak_dbfs=self._peak,
            scores={self.hello.phrase: float(trace.scores.max(initial=0)) / 255},
        )


def _levels(samples: Samples) -> tuple[float, float]:
    """Level and peak of some sound, in dB of full scale."""
    power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    peak = float(np.abs(samples).max(initial=0))
    return (
        10 * float(np.log10(max(power, 1e-12))),
        20 * float(np.log10(max(peak, 1e-6))),
    )
