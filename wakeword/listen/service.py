"""The loop of a listener: sound into detectors, detections out as lines of text.

with open_source(None, "pulse") as source:
    run([wakeword.load("hey_nova.wakeword")], source, Printer(human_line, sys.stdout))
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Protocol, TextIO

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.decision import Detection
from wakeword.errors import UsageError, WakewordError
from wakeword.listen.microphone import Microphone, devices, quiet_portaudio
from wakeword.listen.sources import FileSource, Gap, PcmSource, Source

TAIL_SAMPLES = 2 * SAMPLE_RATE


class Hears(Protocol):
    """What the loop needs of a `wakeword.detector.Detector`."""

    @property
    def phrases(self) -> tuple[str, ...]:
        """What it listens for."""

    def feed(self, samples: Samples) -> list[Detection]:
        """Take mono 16 kHz samples [n]; return the events in them."""

    def skip(self, n_samples: int) -> None:
        """Go on after a hole of that many samples."""


@contextmanager
def open_source(file: str | None, device: str | int | None) -> Iterator[Source]:
    """The sound to listen to: a file, a pipe (`-`), or else a microphone (None = the default one).

    Raises AudioError or DeviceError where it cannot be opened, UsageError where both are given.
    """
    if file is None:
        with quiet_portaudio(), Microphone(device) as microphone:
            yield microphone
    elif device is not None:
        raise UsageError(f"--file {file} and --device {device} exclude each other; give one of them")
    else:
        with PcmSource(sys.stdin.buffer) if file == "-" else FileSource(file) as source:
            yield source


def listen(
    detectors: Sequence[Hears], source: Iterable[Samples | Gap], on_detection: Callable[[Detection], None]
) -> float:
    """Feed the source to every detector until it ends, and report events in the order of their time.

    Two seconds of silence follow a source that ends, so that a phrase at its very end is heard out.
    Detectors skip what the source lost, so that times stay those of the source.
    Returns the seconds heard. Errors of the source and of `on_detection` pass through.
    """
    n_samples = 0
    for block in source:
        if isinstance(block, Gap):
            for detector in detectors:
                detector.skip(block.n_samples)
            continue
        n_samples += len(block)
        _feed(detectors, block, on_detection)
    _feed(detectors, np.zeros(TAIL_SAMPLES, dtype=np.float32), on_detection)
    return n_samples / SAMPLE_RATE


def _feed(detectors: Sequence[Hears], block: Samples, on_detection: Callable[[Detection], None]) -> None:
    events = [event for detector in detectors for event in detector.feed(block)]
    for event in sorted(events, key=lambda event: event.time_s):
        on_detection(event)


def run(detectors: Sequence[Hears], file: str | None, device: str | int | None, as_json: bool) -> None:
    """Listen and print until the sound or the user ends it; see `open_source` and `until_stopped`."""
    with until_stopped(), open_source(file, device) as source:
        if isinstance(source, Microphone):
            phrases = ", ".join(phrase for detector in detectors for phrase in detector.phrases)
            print(f"listening to {source.name} for {phrases}; Ctrl-C ends it", file=sys.stderr, flush=True)
        listen(detectors, source, Printer(json_line if as_json else human_line, sys.stdout))


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


def human_line(event: Detection) -> str:
    """`12.48 s  hey nova  score 0.97`."""
    return f"{event.time_s:.2f} s  {event.phrase}  score {event.score:.2f}"


def json_line(event: Detection) -> str:
    """One JSON object: phrase, time_s (from the first sample), score, threshold."""
    return json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(event).items()})


class Printer:
    """Writes one line per detection, at once."""

    def __init__(self, line: Callable[[Detection], str], out: TextIO) -> None:
        """Write what `line` makes of a detection to `out`."""
        self._line = line
        self._out = out

    def __call__(self, event: Detection) -> None:
        """Write and flush; BrokenPipeError where the reader hung up, WakewordError where the disk is full."""
        try:
            self._out.write(self._line(event) + "\n")
            self._out.flush()
        except OSError as err:
            self._abandon()
            if isinstance(err, BrokenPipeError):
                raise
            raise WakewordError(f"cannot write detections: {err.strerror}") from err

    def _abandon(self) -> None:
        """Send what is still buffered to nowhere: Python would fail on it once more at exit."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._out.fileno())
        os.close(nowhere)
