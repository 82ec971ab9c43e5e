"""A listener as a program: its source of sound, its end by a signal, and what it says at the start."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType

from wakeword.errors import UsageError
from wakeword.listen.hub import Hub
from wakeword.listen.lasting import LastingMicrophone
from wakeword.listen.listener import Listener
from wakeword.listen.microphone import devices, quiet_portaudio
from wakeword.listen.settings import MicrophoneSettings
from wakeword.listen.sources import FileSource, PcmSource, Source
from wakeword.listen.watch import Reloader, reload_on_hangup

log = logging.getLogger(__name__)


@contextmanager
def open_source(file: str | None, microphone: MicrophoneSettings, hub: Hub) -> Iterator[Source | None]:
    """The sound to listen to: a file, a pipe (`-`), or else the microphone; None where that is disabled.

    Raises AudioError or DeviceError where it cannot be opened, UsageError where file and device are given.
    """
    if file is not None:
        if microphone.device:
            raise UsageError(
                f"--file {file} and --device {microphone.device} exclude each other; give one of them"
            )
        with PcmSource(sys.stdin.buffer) if file == "-" else FileSource(file) as source:
            yield source
    elif microphone.enabled:
        with quiet_portaudio(), LastingMicrophone(microphone, hub) as lasting:
            yield lasting
    else:
        yield None


def run(listener: Listener, file: str | None = None) -> None:
    """Listen until the sound or the user ends it; see `open_source` and `until_stopped`."""
    with until_stopped(), open_source(file, listener.settings.microphone, listener.hub) as source:
        if file is None:
            _greet(listener, source)
        if file not in (None, "-"):
            listener.run(source)
            return
        reloader = Reloader(listener)
        try:
            with reload_on_hangup(reloader):
                listener.run(source)
        finally:
            reloader.close()


def _greet(listener: Listener, source: Source | None) -> None:
    where = source.name if source else "the network"
    if isinstance(source, LastingMicrophone) and not source.here:
        where = f"{where}, once it is there,"
    phrases = ", ".join(listener.engine.phrases)
    kept = f"; saving sound in {listener.settings.save.folder}" if listener.saving else ""
    print(f"listening to {where} for {phrases}{kept}; Ctrl-C ends it", file=sys.stderr, flush=True)


@contextmanager
def until_stopped() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a reader of stdout that hung up end the block without an error."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, interrupt) if in_main else None
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError):
        return
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def print_devices(as_json: bool) -> None:
    """Print the microphones, the default one marked by a star, or one JSON list of them."""
    found = devices()
    if as_json:
        print(json.dumps([asdict(device) for device in found]))
        return
    for device in found:
        mark, rate = "*" if device.is_default else " ", f"{device.sample_rate:g} Hz"
        print(
            f"{mark} {device.index}  {device.name}  ({device.host_api}, {rate}, {device.channels} channels)"
        )
