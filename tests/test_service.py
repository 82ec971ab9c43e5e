"""The loop: events of simple, real detectors out of real streams; how a listening command ends."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import SAMPLE_RATE, Samples, write_wav
from wakeword.decision import Detection
from wakeword.errors import UsageError, WakewordError
from wakeword.listen.service import Printer, human_line, json_line, listen, open_source, until_stopped
from wakeword.listen.sources import FileSource, Gap

ROOT = Path(__file__).resolve().parents[1]
EVENT = Detection("hey nova", 12.4800001, 0.97123456, 0.5)

PROGRAM = """
import sys
sys.path.insert(0, "tests")
from test_service import LoudDetector
from wakeword.errors import WakewordError
from wakeword.listen.service import run
print("started", file=sys.stderr, flush=True)
try:
    run([LoudDetector("loud", 0.3)], sys.argv[1], None, as_json=True)
except WakewordError as err:
    sys.exit(f"wakeword: {err}")
"""


class LoudDetector:
    """Detects where the sound rises above a level: simple, but a detector."""

    def __init__(self, phrase: str, level: float) -> None:
        self.phrases, self.level = (phrase,), level
        self._n, self._loud = 0, False

    def feed(self, samples: Samples) -> list[Detection]:
        events = []
        for i in np.flatnonzero(np.diff(np.abs(samples) > self.level, prepend=self._loud)):
            self._loud = not self._loud
            if self._loud:
                time_s = (self._n + int(i)) / SAMPLE_RATE
                events.append(Detection(self.phrases[0], time_s, float(abs(samples[i])), self.level))
        self._n += len(samples)
        return events

    def skip(self, n_samples: int) -> None:
        self._n += n_samples
        self._loud = False


def pulses(*levels: float) -> Samples:
    """One second per level: a tenth of a second of it half-way, else silence."""
    samples = np.zeros((len(levels), SAMPLE_RATE), dtype=np.float32)
    samples[:, SAMPLE_RATE // 2 : SAMPLE_RATE * 6 // 10] = np.asarray(levels)[:, None]
    return samples.reshape(-1)


def start(*args: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *args], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    )


def pcm(samples: Samples) -> bytes:
    return (samples * 32_767).astype("<i2").tobytes()


def test_every_detector_hears_everything(tmp_path: Path) -> None:
    write_wav(tmp_path / "pulses.wav", pulses(0.5, 0.25, 0.75))
    heard: list[Detection] = []
    detectors = [LoudDetector("loud", 0.4), LoudDetector("any", 0.2)]
    with FileSource(tmp_path / "pulses.wav") as source:
        assert listen(detectors, source, heard.append) == 3.0
    assert [(event.phrase, event.time_s) for event in heard] == [
        ("loud", 0.5), ("any", 0.5), ("any", 1.5), ("loud", 2.5), ("any", 2.5),
    ]  # fmt: skip


def test_events_of_one_block_are_in_order_of_time() -> None:
    heard: list[Detection] = []
    listen([LoudDetector("b", 0.6), LoudDetector("a", 0.2)], [pulses(0.5, 0.75)], heard.append)
    assert [(event.phrase, event.time_s) for event in heard] == [("a", 0.5), ("b", 1.5), ("a", 1.5)]


def test_lost_sound_is_skipped_by_every_detector() -> None:
    heard: list[Detection] = []
    source = [pulses(0.5), Gap(7 * SAMPLE_RATE), pulses(0.0, 0.75)]
    detectors = [LoudDetector("loud", 0.4), LoudDetector("any", 0.2)]
    assert listen(detectors, source, heard.append) == 3.0, "lost sound was not heard"
    assert [(event.phrase, event.time_s) for event in heard] == [
        ("loud", 0.5), ("any", 0.5), ("loud", 9.5), ("any", 9.5),
    ]  # fmt: skip


def test_lines() -> None:
    assert human_line(EVENT) == "12.48 s  hey nova  score 0.97"
    got = json.loads(json_line(EVENT))
    assert got == {"phrase": "hey nova", "time_s": 12.48, "score": 0.9712, "threshold": 0.5}
    assert "\n" not in json_line(Detection("zwei\nZeilen", 1, 1, 1))


def test_printer_writes_one_line_an_event() -> None:
    out = io.StringIO()
    printer = Printer(human_line, out)
    printer(EVENT)
    printer(EVENT)
    assert out.getvalue() == "12.48 s  hey nova  score 0.97\n" * 2


def test_file_and_device_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude each other"), open_source("a.wav", "pulse"):
        pass


def test_errors_of_the_source_pass_through() -> None:
    def broken() -> Iterator[Samples]:
        yield pulses(0.5)
        raise WakewordError("gone")

    heard: list[Detection] = []
    with pytest.raises(WakewordError, match="gone"), until_stopped():
        listen([LoudDetector("loud", 0.4)], broken(), heard.append)
    assert len(heard) == 1


def test_sigterm_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with until_stopped():
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal did not end it")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_pipe_is_printed_at_once_and_a_signal_ends_it(number: signal.Signals) -> None:
    with start("-") as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(pcm(pulses(0.5)))
        process.stdin.flush()
        assert process.stderr.readline() == b"started\n"
        line = json.loads(process.stdout.readline())
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (line["phrase"], line["time_s"]) == ("loud", 0.5)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_reader_that_hangs_up_ends_it_quietly() -> None:
    with start("-") as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(pcm(pulses(0.5)))
        process.stdin.close()
        assert process.stderr.read() == b"started\n"
        assert process.wait(10) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk(tmp_path: Path) -> None:
    write_wav(tmp_path / "pulse.wav", pulses(0.5))
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "pulse.wav")]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "started\nwakeword: cannot write detections: No space left on device\n"


def test_the_loop_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'sounddevice'}"
    code = f"import sys, wakeword.listen.service; print([*({heavy} & sys.modules.keys())])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
