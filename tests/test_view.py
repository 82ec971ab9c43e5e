"""The live view: what it draws, and that it leaves the terminal and the log as they were."""

from __future__ import annotations

import io
import logging
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from tiny import PHRASES, sounds

from wakeword.decision import Detection
from wakeword.errors import WakewordError
from wakeword.listen.events import MICROPHONE, Heard, Problem, Pulse, SourceState
from wakeword.listen.listener import Listener
from wakeword.listen.settings import ListenSettings, ModelSettings
from wakeword.listen.view import Screen, spark, start


def text_of(screen: Screen, now_s: float = 1_000.0) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(screen.render(now_s))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def pulse(level: float, score: float, stream: str = MICROPHONE) -> Pulse:
    return Pulse(stream, 1.0, 1_000.0, 0.24, 3, 1, 0.0, 0.001, level, level + 6, {"hey nova": score})


def test_level_scores_detections_and_problems() -> None:
    screen = Screen({"hey nova": 0.5}, saving=True)
    screen.take(SourceState(MICROPHONE, "listening", "USB Microphone"))
    for score in (0.1, 0.95):
        screen.take(pulse(-40, score))
    screen.take(pulse(-3, 0.0, stream="wyoming 10.0.0.7:1"))
    screen.take(Heard(1, Detection("hey nova", 3.0, 0.97, 0.5), "m", "wyoming 10.0.0.7:1", 999.0))
    screen.take(Problem("mqtt", "lost broker:1883"))
    text = text_of(screen)
    for part in (
        "● USB Microphone",
        "-40 dBFS",
        "0.95",
        "0.50",
        "▁█",
        "10.0.0.7",
        "mqtt: lost",
        "saving sound",
    ):
        assert part in text, part
    assert text.count("━") == 40
    screen.take(Problem("mqtt", "", solved=True))
    screen.take(SourceState(MICROPHONE, "lost", "unplugged"))
    text = text_of(screen)
    assert "mqtt" not in text
    assert "lost: unplugged" in text


def test_markup_in_names_is_text() -> None:
    screen = Screen({"[bold]x[/]": 0.5}, saving=False)
    screen.take(SourceState(MICROPHONE, "listening", "[red]odd[/] name"))
    assert "[bold]x[/]" in text_of(screen)
    assert "[red]odd[/] name" in text_of(screen)


def test_sparks() -> None:
    assert [spark(s) for s in (-1.0, 0.0, 0.5, 1.0, 2.0)] == ["▁", "▁", "▅", "█", "█"]


def test_a_listener_is_drawn_live(tiny_model: Path) -> None:
    listener = Listener(ListenSettings(models=(ModelSettings(path=str(tiny_model)),)))
    out = io.StringIO()
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    before = sys.stderr
    view = start(listener, Console(file=out, force_terminal=True, width=100))
    stream = listener.engine.open(MICROPHONE, "a test")
    heard = stream.feed(sounds(8.0, seed=3))
    time.sleep(0.6)
    logging.getLogger("x").warning("said meanwhile")
    stream.close()
    view.close()
    view.close()
    logging.getLogger().removeHandler(handler)
    assert sys.stderr is before is handler.stream
    drawn = out.getvalue()
    assert "said meanwhile" in drawn
    assert all(phrase in drawn for phrase in PHRASES)
    assert heard[-1].detection.phrase in drawn.rpartition("the last seconds")[2]


def test_it_needs_a_terminal(tiny_model: Path) -> None:
    listener = Listener(ListenSettings(models=(ModelSettings(path=str(tiny_model)),)))
    with pytest.raises(WakewordError, match="needs a terminal"):
        start(listener, Console(file=io.StringIO()))
