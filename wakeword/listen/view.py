"""The live view in the terminal: level, scores and the last detections, by rich.

It draws on standard error, so that detections on standard output can still be piped somewhere.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from wakeword.errors import WakewordError
from wakeword.listen.events import MICROPHONE, Event, Heard, Problem, Pulse, Reloaded, SourceState

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

REFRESH_S = 0.25
LAST = 8
"""Detections that are shown."""
BAR = 40
"""Width of a bar in characters."""
FLOOR_DBFS = -80.0
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_PULSES = 60
"""Pulses in a small plot: a quarter of a minute."""
FRESH_S = 2.0


class Screen:
    """What is shown; `take` events, then `render`. Pure but for the clock of detections."""

    def __init__(self, thresholds: dict[str, float], saving: bool) -> None:
        self.thresholds = thresholds
        self.saving = saving
        self.pulse: Pulse | None = None
        self.source = "waiting for sound"
        self.lost = False
        self._scores: dict[str, deque[float]] = {}
        self._heard: deque[Heard] = deque(maxlen=LAST)
        self._problems: dict[str, str] = {}

    def take(self, event: Event) -> None:
        """Take an event into the picture. Level and scores are the microphone's."""
        if isinstance(event, Pulse) and event.stream == MICROPHONE:
            self.pulse = event
            for phrase, score in event.scores.items():
                self._scores.setdefault(phrase, deque(maxlen=SPARK_PULSES)).append(score)
        elif isinstance(event, Heard):
            self._heard.append(event)
        elif isinstance(event, SourceState) and event.stream == MICROPHONE:
            self.source, self.lost = event.what, event.state == "lost"
        elif isinstance(event, Reloaded):
            self.thresholds = dict(event.thresholds)
        elif isinstance(event, Problem):
            if event.solved:
                self._problems.pop(event.where, None)
            else:
                self._problems[event.where] = event.what

    def render(self, now_s: float) -> RenderableType:
        """The whole view; `now_s` in seconds since 1970."""
        parts: list[RenderableType] = [self._header(), self._level(), self._table()]
        if self._heard:
            parts += [Text(), self._detections(now_s)]
        parts += [Text(f"{where}: {what}", style="yellow") for where, what in self._problems.items()]
        title = "[bold]wakeword[/]" + ("  [yellow]saving sound to disk[/]" if self.saving else "")
        return Panel(Group(*parts), title=title, title_align="left", border_style="blue", padding=(0, 1))

    def _header(self) -> Text:
        style = "bold red" if self.lost else "green"
        return Text.assemble(("● ", style), (f"lost: {self.source}" if self.lost else self.source, "bold"))

    def _level(self) -> Text:
        if self.pulse is None:
            return Text("level  –", style="dim")
        share = min(max(1 - self.pulse.level_dbfs / FLOOR_DBFS, 0), 1)
        filled = round(share * BAR)
        colour = "red" if self.pulse.peak_dbfs > -0.1 else "green"
        lag = f"   {self.pulse.lag_s:.1f} s behind" if self.pulse.lag_s > 0.5 else ""
        return Text.assemble(
            "level  ", ("━" * filled, colour), ("━" * (BAR - filled), "bright_black"),
            f"  {self.pulse.level_dbfs:4.0f} dBFS", (lag, "red"),
        )  # fmt: skip

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=True, header_style="dim")
        table.add_column("phrase")
        table.add_column("score", justify="right")
        table.add_column("fires at", justify="right")
        table.add_column("the last seconds")
        for phrase, threshold in self.thresholds.items():
            recent = list(self._scores.get(phrase, ()))
            now = recent[-1] if recent else 0.0
            style = "bold green" if now >= threshold else ""
            plot = Text("".join(spark(score) for score in recent), style="blue")
            name, score = Text(phrase, style="bold"), Text(f"{now:.2f}", style=style)
            table.add_row(name, score, f"{threshold:.2f}", plot)
        return table

    def _detections(self, now_s: float) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for heard in reversed(self._heard):
            style = "bold green" if now_s - heard.at < FRESH_S else ""
            at = time.strftime("%H:%M:%S", time.localtime(heard.at))
            stream = "" if heard.stream == MICROPHONE else heard.stream
            table.add_row(
                Text(at, style="dim"), Text(heard.detection.phrase, style=style),
                Text(f"{heard.detection.score:.2f}", style="dim"), Text(heard.detection.speaker or ""),
                Text(stream, style="dim"),
            )  # fmt: skip
        return table


def spark(score: float) -> str:
    """One character of a small plot."""
    return SPARKS[min(int(max(score, 0) * len(SPARKS)), len(SPARKS) - 1)]


class View:
    """Draws a screen four times a second until it is closed."""

    def __init__(self, listener: Listener, console: Console) -> None:
        self._screen = Screen(listener.engine.thresholds, listener.saving)
        self._events = listener.hub.subscribe("view", size=512)
        self._closed = threading.Event()
        self._live = Live(
            self._screen.render(time.time()), console=console, auto_refresh=False, transient=False,
            redirect_stdout=False,
        )  # fmt: skip
        before = sys.stderr
        self._live.start()
        # The live view puts a stream of its own in the place of stderr, above which what is logged appears.
        self._move_logs(before, sys.stderr)
        self._thread = threading.Thread(target=self._draw, name="view", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the last picture on the terminal."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._events.close()
        self._thread.join(2)
        above = sys.stderr
        self._live.stop()
        self._move_logs(above, sys.stderr)

    def _move_logs(self, before: Any, after: Any) -> None:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                handler.setStream(after)

    def _draw(self) -> None:
        drawn_s = 0.0
        while not self._closed.is_set():
            event = self._events.get(REFRESH_S)
            if event is not None:
                self._screen.take(event)
            if time.monotonic() - drawn_s >= REFRESH_S:
                drawn_s = time.monotonic()
                self._live.update(self._screen.render(time.time()), refresh=True)
        while (waiting := self._events.get(0)) is not None:
            self._screen.take(waiting)
        self._live.update(self._screen.render(time.time()), refresh=True)


def start(listener: Listener, console: Any = None) -> View:
    """Show the view for as long as the listener runs; see `wakeword.listen.parts`."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        raise WakewordError("the live view needs a terminal; leave out --ui")
    return View(listener, console)
