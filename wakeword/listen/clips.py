"""Cuts the sound around detections out of a stream's history."""

from __future__ import annotations

from collections.abc import Sequence

from wakeword.audio import SAMPLE_RATE
from wakeword.listen.events import Clip, Heard
from wakeword.listen.history import History
from wakeword.listen.hub import Hub
from wakeword.listen.settings import ClipSettings


class Clips:
    """Waits until the sound after a detection is there, and publishes it."""

    def __init__(self, hub: Hub, history: History, settings: ClipSettings) -> None:
        self._hub, self._history, self._settings = hub, history, settings
        self._open: list[Heard] = []

    def advance(self, new: Sequence[Heard]) -> None:
        """Take what was just heard; publish the clips that are complete."""
        self._open += new
        done = [heard for heard in self._open if self._end(heard) <= self._history.end]
        self._publish(done)

    def flush(self) -> None:
        """Publish the rest as far as there is sound: none follows, or a hole does."""
        self._publish(list(self._open))

    def _publish(self, done: list[Heard]) -> None:
        for heard in done:
            self._open.remove(heard)
            begin = round((heard.detection.time_s - self._settings.pre_s) * SAMPLE_RATE)
            first, samples = self._history.cut(begin, self._end(heard))
            self._hub.publish(Clip(heard, samples, first / SAMPLE_RATE))

    def _end(self, heard: Heard) -> int:
        return round((heard.detection.time_s + self._settings.post_s) * SAMPLE_RATE)
