"""A microphone that comes back: unplugged, its server restarted, the computer asleep; it is opened anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.errors import DeviceError
from wakeword.listen.clock import elapsed_s
from wakeword.listen.events import MICROPHONE, SourceState
from wakeword.listen.hub import Hub
from wakeword.listen.microphone import Microphone, look_again, quiet_portaudio
from wakeword.listen.settings import MicrophoneSettings
from wakeword.listen.sources import Gap, Source

BACK_OFF_S = (0.1, 0.2, 0.5, *[0.75] * 40, 1.5, 3.0, 5.0)
"""Waits between tries; the last is repeated. Each try asks PortAudio to look for devices anew, which takes
0.06 s of processor time and, with a sound server, up to 0.2 s: a microphone that stays away costs little."""


class LastingMicrophone(Source):
    """The microphone of the settings, for as long as anyone listens.

    Says on the hub when it is lost and when it is back. What was missed in between is a `Gap`.
    """

    def __init__(self, settings: MicrophoneSettings, hub: Hub) -> None:
        """Open it. Where it is not there: DeviceError, or with `wait` a `Problem` and it is opened later."""
        self._settings, self._hub = settings, hub
        self._closed, self._changed = threading.Event(), threading.Event()
        self._microphone: Microphone | None = None
        self._stuck = False
        self._heard_s: float | None = None
        """When the last block came, see `elapsed_s`."""
        self.returns = 0
        """Times it was lost and came back."""
        try:
            self._open()
        except DeviceError as err:
            if not settings.wait:
                raise
            self._lost(err)
        self.name = self._microphone.name if self._microphone else settings.device or "default microphone"

    @property
    def lag_s(self) -> float:
        """Sound that was recorded and waits to be taken."""
        microphone = self._microphone
        return microphone.lag_s if microphone else 0.0

    @property
    def here(self) -> bool:
        """False while there is no microphone."""
        return self._microphone is not None

    def change(self, settings: MicrophoneSettings) -> None:
        """Go on with another device or channel; from any thread."""
        self._settings = settings
        self._changed.set()
        if microphone := self._microphone:
            microphone.close()

    def close(self) -> None:
        """Let go of the device, from any thread."""
        self._closed.set()
        self._changed.set()
        if microphone := self._microphone:
            microphone.close()

    def __iter__(self) -> Iterator[Samples | Gap]:
        """Yield what is recorded until `close`; while there is no microphone, an empty block at each try."""
        attempt = 0
        while not self._closed.is_set():
            if self._microphone is None:
                yield np.zeros(0, dtype=np.float32)
                self._changed.wait(BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)])
                attempt = 0 if self._changed.is_set() else attempt + 1
                self._try()
            else:
                attempt = 0
                yield from self._record(self._microphone)

    def _record(self, microphone: Microphone) -> Iterator[Samples | Gap]:
        """What one opened device gives until it vanishes, or another is asked for."""
        if self._heard_s is not None:
            yield Gap(max(1, round((elapsed_s() - self._heard_s) * SAMPLE_RATE)))
        try:
            for block in microphone:
                self._heard_s = elapsed_s()
                yield block
        except DeviceError as err:
            self._let_go(microphone)
            self._lost(err)
        else:
            self._let_go(microphone)

    def _let_go(self, microphone: Microphone) -> None:
        microphone.close()
        self._stuck = self._stuck or microphone.stuck
        self._microphone = None

    def _try(self) -> None:
        self._changed.clear()
        if self._closed.is_set():
            return
        try:
            with quiet_portaudio():
                if not self._stuck:
                    look_again()
                self._open()
        except DeviceError as err:
            self._lost(err)
        else:
            self.returns += 1
            self._hub.solved("microphone", f"listening to {self.name} again")
            self._hub.publish(SourceState(MICROPHONE, "listening", self.name, self.returns))

    def _open(self) -> None:
        microphone = Microphone(self._settings.device or None, self._settings.channel)
        self._microphone, self.name = microphone, microphone.name
        if self._closed.is_set():  # closed meanwhile, from another thread
            microphone.close()

    def _lost(self, err: DeviceError) -> None:
        self._hub.problem("microphone", f"{err}")
        self._hub.publish(SourceState(MICROPHONE, "lost", str(err), self.returns))
