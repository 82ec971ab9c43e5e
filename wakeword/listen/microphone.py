"""The microphone: PortAudio at the device's own rate and channels, as a source of mono 16 kHz.

PortAudio's thread only copies blocks into a bounded backlog; everything else happens where the blocks are
taken out. A listener that does not keep up gets the newest sound, and a `Gap` for what it missed. A
microphone that stops giving sound is an error, not silence.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.errors import DeviceError
from wakeword.listen.backlog import Backlog, Taken
from wakeword.listen.sources import Gap, MonoStream, Source

BLOCK_S = 0.02
"""Sound per call of PortAudio."""
LATENCY_S = 0.1
"""Sound the driver may hold before it loses some, asked of PortAudio: a busy small board needs that much."""
QUEUE_S = 4.0
"""Sound that may wait for a slow detector; of more, the oldest is dropped."""
MAX_CHANNELS = 2
"""Sound servers report 32 channels and more, where only the first are a microphone."""
VANISHED_S = 3.0
"""A microphone that gives nothing for this long has vanished; it may take twice that to give its first."""
POLL_S = 0.1
CLOSE_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputDevice:
    """A device that PortAudio can record from."""

    index: int
    name: str
    channels: int
    sample_rate: float
    """Its own rate in Hz."""
    host_api: str
    is_default: bool


def devices() -> list[InputDevice]:
    """All devices that can record, in PortAudio's order; DeviceError where there is none, or no PortAudio."""
    sounddevice = _sounddevice()
    apis = sounddevice.query_hostapis()
    default = sounddevice.default.device[0]
    found = [
        InputDevice(
            index=info["index"],
            name=info["name"],
            channels=info["max_input_channels"],
            sample_rate=info["default_samplerate"],
            host_api=apis[info["hostapi"]]["name"],
            is_default=info["index"] == default,
        )
        for info in sounddevice.query_devices()
        if info["max_input_channels"] > 0
    ]
    if not found:
        raise DeviceError(
            "no microphone found; plug one in or start the sound server (PulseAudio, PipeWire), "
            "or listen to a recording with --file"
        )
    return found


def find_device(wanted: str | int | None = None) -> InputDevice:
    """The device of an index, a name or part of a name (any case); None = the default.

    DeviceError, naming the choices, where none or several fit, and where there is no device at all.
    """
    found = devices()
    if wanted is None:
        return next((device for device in found if device.is_default), found[0])
    fits = _matches(found, str(wanted).strip())
    if len(fits) == 1:
        return fits[0]
    choices = ", ".join(f"{device.index} ({device.name})" for device in fits or found)
    if fits:
        raise DeviceError(f"{len(fits)} microphones match {wanted!r}; give an index: {choices}")
    raise DeviceError(f"no microphone matches {wanted!r}; choose an index or a name: {choices}")


def _matches(found: list[InputDevice], wanted: str) -> list[InputDevice]:
    if wanted.isdecimal():
        return [device for device in found if device.index == int(wanted)]
    name = wanted.casefold()
    exact = [device for device in found if device.name.casefold() == name]
    return exact or [device for device in found if name and name in device.name.casefold()]


class Microphone(Source):
    """A microphone, opened; iterate it for the sound from now on, without end.

    Sound is lost where no one takes it within 4 s, and where the driver says so. Each loss is logged once.
    """

    def __init__(self, device: str | int | None = None, channel: int = 0) -> None:
        """Open a device, see `find_device`; DeviceError where it is missing, busy or refuses.

        Args:
            device: its number or a part of its name; None = the default one.
            channel: 1 = the first alone, 2 = the second …; 0 = the first two mixed.
        """
        self.device = find_device(device)
        self.name = self.device.name
        if channel > self.device.channels:
            raise DeviceError(
                f"{self.name!r} has {self.device.channels} channels; there is no channel {channel}"
            )
        self.channels = channel or min(self.device.channels, MAX_CHANNELS)
        self._first = max(0, channel - 1)
        """Channels before it are recorded, but not listened to."""
        self.losses = 0
        """Gaps so far."""
        self.lost_s = 0.0
        """Sound lost in them."""
        self.stuck = False
        """True where closing it failed: PortAudio must not be started anew."""
        self._backlog = Backlog(int(QUEUE_S * self.device.sample_rate))
        self._last_block_s: float | None = None
        self._closed = threading.Event()
        self._stream = self._open()

    @property
    def lag_s(self) -> float:
        """Sound that was recorded and waits to be taken."""
        return len(self._backlog) / self.device.sample_rate

    def __iter__(self) -> Iterator[Samples | Gap]:
        """Yield what was recorded since the last block, 20 ms or more. DeviceError when it vanishes."""
        mono = MonoStream(self.device.sample_rate, self.name)
        patience = 2 * VANISHED_S
        while not self._closed.is_set():
            taken = self._recorded(patience)
            patience = VANISHED_S
            if taken.lost:
                # The resampler must not smear one side of the hole into the other.
                yield mono.flush()
                mono = MonoStream(self.device.sample_rate, self.name)
                yield self._gap(taken)
            yield mono.feed(np.concatenate(taken.blocks)[:, self._first :])

    def _gap(self, taken: Taken) -> Gap:
        """Count and report one loss."""
        rate = self.device.sample_rate
        lag_s = self.lag_s + sum(map(len, taken.blocks)) / rate
        self.losses += 1
        self.lost_s += taken.lost / rate
        log.warning(
            "%.2f s of microphone %r were lost (%.2f s in all), %.2f s wait: this computer does not keep up",
            taken.lost / rate, self.name, self.lost_s, lag_s,
        )  # fmt: skip
        return Gap(round(taken.lost / rate * SAMPLE_RATE))

    def close(self) -> None:
        """Let go of the device. At most 2 s: a sound server that hangs would hold it for ever."""
        if self._closed.is_set():
            return
        self._closed.set()
        closing = threading.Thread(target=self._stream.close, daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        self.stuck = closing.is_alive()
        if self.stuck:
            log.warning("microphone %r does not let go; leaving it", self.name)
            # sounddevice closes every stream again at exit (seen in 0.5.6) and would wait there for ever.
            atexit.unregister(getattr(_sounddevice(), "_exit_handler", None) or (lambda: None))

    def _open(self) -> Any:
        sounddevice = _sounddevice()
        rate = self.device.sample_rate
        stream = None
        try:
            stream = sounddevice.InputStream(
                device=self.device.index,
                samplerate=rate,
                channels=self.channels,
                dtype="float32",
                blocksize=int(rate * BLOCK_S),
                latency=LATENCY_S,
                callback=self._take,
            )
            stream.start()
        except (sounddevice.PortAudioError, ValueError) as err:
            if stream is not None:
                stream.close()
            raise DeviceError(
                f"cannot open microphone {self.name!r} ({err}); is it busy or unplugged?"
            ) from err
        return stream

    def _take(self, block: npt.NDArray[np.float32], n_frames: int, when: Any, status: Any) -> None:
        """Runs in PortAudio's thread."""
        began_s, before_s = when.inputBufferAdcTime, self._last_block_s
        self._last_block_s = began_s
        lost = 0
        if status.input_overflow:
            # PortAudio says that sound is missing, not how much: its clock does, roughly.
            missing_s = 0.0 if before_s is None else began_s - before_s - n_frames / self.device.sample_rate
            lost = max(1, int(missing_s * self.device.sample_rate))
        self._backlog.put(block.copy(), lost)

    def _recorded(self, patience_s: float) -> Taken:
        """All that waits up to the next gap, after waiting for the first block."""
        deadline = time.monotonic() + patience_s
        while True:
            taken = self._backlog.take(POLL_S)
            if taken.blocks:
                return taken
            if self._closed.is_set():
                return Taken(0, [np.zeros((0, self.channels), dtype=np.float32)])
            if not self._stream.active:
                raise DeviceError(f"microphone {self.name!r} vanished; is it unplugged?")
            if time.monotonic() > deadline:
                raise DeviceError(f"microphone {self.name!r} vanished: no sound for {patience_s:g} s")


def look_again() -> None:
    """Let PortAudio find devices that were plugged in since it was loaded. No stream may be open."""
    sounddevice = _sounddevice()
    with suppress(sounddevice.PortAudioError):
        sounddevice._terminate()
    try:
        sounddevice._initialize()
    except sounddevice.PortAudioError as err:
        raise DeviceError(f"PortAudio does not start ({err})") from err


def _sounddevice() -> Any:
    """Load PortAudio; DeviceError where the library is missing."""
    try:
        with quiet_portaudio():
            import sounddevice
    except OSError as err:
        raise DeviceError(f"{err}; install it (Debian, Ubuntu: apt install libportaudio2)") from err
    return sounddevice


@contextmanager
def quiet_portaudio() -> Iterator[None]:
    """Keep what ALSA and PortAudio write to file descriptor 2, and only that, off the terminal.

    They print pages for devices that are merely absent, and offer no way to turn it off. Python's own
    `sys.stderr` and the handlers of the root logger still write; child processes do not.
    """
    if sys.stderr is None or not _is_descriptor_2(sys.stderr):
        yield
        return
    before = sys.stderr
    before.flush()
    nowhere, kept = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding=before.encoding, errors="backslashreplace")
    _move_log_handlers(before, sys.stderr)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        _move_log_handlers(sys.stderr, before)
        sys.stderr.close()
        sys.stderr = before


def _move_log_handlers(before: TextIO, after: TextIO) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)


def _is_descriptor_2(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == 2)
    except (OSError, ValueError, AttributeError):
        return False
