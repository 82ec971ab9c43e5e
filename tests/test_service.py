"""A listener as a program: how it prints, and how it ends."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tiny import sounds

import wakeword
from wakeword.audio import Samples, as_int16, write_wav
from wakeword.decision import Detection
from wakeword.errors import UsageError, WakewordError
from wakeword.listen.events import MICROPHONE, Heard
from wakeword.listen.hub import Hub
from wakeword.listen.listener import Listener
from wakeword.listen.output import Printer, human_line, json_line
from wakeword.listen.service import open_source, until_stopped
from wakeword.listen.settings import ListenSettings, MicrophoneSettings, ModelSettings, OutputSettings
from wakeword.listen.sources import FileSource, Gap, Source

ROOT = Path(__file__).resolve().parents[1]
EVENT = Heard(17, Detection("hey nova", 12.4800001, 0.97123456, 0.5), "tiny", MICROPHONE, 1_795_637_388.5)


class Played(Source):
    """Sound that is at hand, gaps and errors in it."""

    name = "played"

    def __init__(self, *blocks: Samples | Gap | Exception) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[Samples | Gap]:
        for block in self._blocks:
            if isinstance(block, Exception):
                raise block
            yield block

    def close(self) -> None:
        pass


def listener(model: Path) -> Listener:
    quiet = OutputSettings(format="none")
    return Listener(ListenSettings(models=(ModelSettings(path=str(model)),), output=quiet))


def heard(model: Path, *blocks: Samples | Gap) -> list[Detection]:
    one = listener(model)
    events = one.hub.subscribe("test", Heard, size=1000)
    one.run(Played(*blocks))
    events.close()
    return [event.detection for event in events]


def start(model: Path, *args: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "wakeword", "listen", str(model), "--json", *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)


def pcm(samples: Samples) -> bytes:
    return as_int16(samples).astype("<i2").tobytes()


def test_a_source_is_heard_out(tiny_model: Path) -> None:
    """The events are those of one detector fed with all of it and two seconds of silence."""
    sound = sounds(6.0, seed=3)
    detector = wakeword.load(tiny_model)
    expected = [*detector.feed(sound), *detector.feed(0 * sounds(2.0))]
    assert heard(tiny_model, sound[:50_001], sound[50_001:]) == expected != []


def test_what_was_lost_counts_as_time(tiny_model: Path) -> None:
    before, after = sounds(3.0, seed=3), sounds(3.0, seed=4)
    detector = wakeword.load(tiny_model)
    expected = detector.feed(before)
    detector.skip(7 * 16_000)
    expected += [*detector.feed(after), *detector.feed(0 * sounds(2.0))]
    assert heard(tiny_model, before, Gap(7 * 16_000), after) == expected
    assert any(event.time_s > 10 for event in expected)


def test_errors_of_the_source_pass_through(tiny_model: Path) -> None:
    with pytest.raises(WakewordError, match="gone"), until_stopped():
        listener(tiny_model).run(Played(sounds(1.0), WakewordError("gone")))


def test_lines() -> None:
    assert human_line(EVENT) == "12.48 s  hey nova  score 0.97"
    satellite = Heard(1, EVENT.detection, "tiny", "kitchen", 0.0)
    assert human_line(satellite) == "12.48 s  hey nova  score 0.97  (kitchen)"
    assert json.loads(json_line(EVENT)) == {
        "phrase": "hey nova", "time_s": 12.48, "score": 0.9712, "threshold": 0.5,
        "model": "tiny", "stream": "microphone", "at": "2026-11-25T20:09:48.500Z", "number": 17,
    }  # fmt: skip
    assert "\n" not in json_line(Heard(1, Detection("zwei\nZeilen", 1, 1, 1), "m", "s", 0.0))


def test_printer_writes_one_line_an_event() -> None:
    out = io.StringIO()
    printer = Printer(human_line, out)
    printer(EVENT)
    printer(EVENT)
    assert out.getvalue() == "12.48 s  hey nova  score 0.97\n" * 2


def test_file_and_device_exclude_each_other() -> None:
    microphone = MicrophoneSettings(device="pulse")
    with pytest.raises(UsageError, match="exclude each other"), open_source("a.wav", microphone, Hub()):
        pass


def test_no_source_at_all() -> None:
    with open_source(None, MicrophoneSettings(enabled=False), Hub()) as source:
        assert source is None


def test_sigterm_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with until_stopped():
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal did not end it")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_pipe_is_printed_at_once_and_a_signal_ends_it(
    tiny_model: Path, number: signal.Signals
) -> None:
    sound = sounds(4.0, seed=3)
    first = wakeword.load(tiny_model).feed(as_int16(sound))[0]
    with start(tiny_model, "--file", "-") as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(pcm(sound))
        process.stdin.flush()
        line = json.loads(process.stdout.readline())
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (line["phrase"], line["time_s"]) == (first.phrase, round(first.time_s, 4))
    assert (process.returncode, err) == (0, b"")


def test_a_reader_that_hangs_up_ends_it_quietly(tiny_model: Path) -> None:
    with start(tiny_model, "--file", "-") as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        with suppress(BrokenPipeError):  # it may end before it has read all
            process.stdin.write(pcm(sounds(4.0, seed=3)))
            process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk(tiny_model: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "sounds.wav", sounds(4.0, seed=3))
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "wakeword", "listen", tiny_model, "--file", tmp_path / "sounds.wav"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "wakeword: cannot write detections: No space left on device\n"


def test_the_loop_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'sounddevice', 'soundfile', 'aiohttp', 'wyoming', 'tomlkit', 'watchfiles'}"
    code = f"import sys, wakeword.listen.service; print([*({heavy} & sys.modules.keys())])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_file_that_is_no_file(tiny_model: Path) -> None:
    with pytest.raises(WakewordError, match="no such file"), FileSource("none.wav"):
        pass
