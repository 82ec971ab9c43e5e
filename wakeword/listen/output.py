"""Detections as lines on standard output: for people, or one JSON object each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from wakeword.decision import Detection
from wakeword.errors import WakewordError
from wakeword.listen.events import MICROPHONE, Heard
from wakeword.listen.worker import Worker

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

QUEUE_LINES = 100_000
"""A file is heard far faster than a terminal may print."""


def start(listener: Listener) -> Worker:
    """Print from now on; standard output that fails or is hung up ends the listener."""
    line = json_line if listener.settings.output.format == "json" else human_line
    printer = Printer(line, sys.stdout)

    def write(heard: Heard) -> None:
        try:
            printer(heard)
        except (WakewordError, BrokenPipeError) as err:
            listener.fail(err)

    return Worker(listener.hub, "output", write, size=QUEUE_LINES)


def human_line(heard: Heard) -> str:
    """`12.48 s  hey nova  score 0.97`, who spoke, and the stream where it is not the microphone."""
    event = heard.detection
    where = "" if heard.stream == MICROPHONE else f"  ({heard.stream})"
    return f"{event.time_s:.2f} s  {event.phrase}  score {event.score:.2f}{spoken_by(event)}{where}"


def spoken_by(event: Detection) -> str:
    """`  by ada (0.71)` where it is known who was asked for."""
    if event.speaker is None:
        return ""
    return f"  by {event.speaker}" + ("" if event.similarity is None else f" ({event.similarity:.2f})")


def json_line(heard: Heard) -> str:
    """One JSON object, see `Heard.as_dict`; `time_s` counts from the first sample."""
    return json.dumps(heard.as_dict())


class Printer:
    """Writes one line per detection, at once."""

    def __init__(self, line: Callable[[Heard], str], out: TextIO) -> None:
        """Write what `line` makes of a detection to `out`."""
        self._line = line
        self._out = out
        self._abandoned = False

    def __call__(self, heard: Heard) -> None:
        """Write and flush; BrokenPipeError where the reader hung up, WakewordError where the disk is full."""
        if self._abandoned:
            return
        try:
            self._out.write(self._line(heard) + "\n")
            self._out.flush()
        except OSError as err:
            self._abandon()
            if isinstance(err, BrokenPipeError):
                raise
            raise WakewordError(f"cannot write detections: {err.strerror}") from err

    def _abandon(self) -> None:
        """Send what is still buffered to nowhere: Python would fail on it once more at exit."""
        self._abandoned = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._out.fileno())
        os.close(nowhere)
