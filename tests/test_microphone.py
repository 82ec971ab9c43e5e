"""The microphone through the real PortAudio, ALSA and PulseAudio, in real time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tiny import sounds
from virtual_mic import ROOT, VirtualMic

from wakeword.audio import SAMPLE_RATE, Samples, read_audio, speech_span

pytestmark = pytest.mark.mic

MAIN = """
import sys
import numpy as np
import logging
from wakeword.errors import DeviceError
from wakeword.listen import microphone
from wakeword.listen import service
from wakeword.listen.microphone import Microphone, devices, find_device, quiet_portaudio

def record(device, n_samples):
    blocks = []
    with Microphone(device) as source:
        for block in source:
            print("recording", flush=True) if not blocks else None
            blocks.append(block)
            if sum(map(len, blocks)) >= n_samples:
                return np.concatenate(blocks), source.losses

logging.basicConfig(format="%(message)s")
try:
    with quiet_portaudio():
        {body}
except DeviceError as err:
    sys.exit(str(err))
"""
RECORD = """sound, lost = record("pulse", int(sys.argv[1])); np.save(sys.argv[2], sound); print(lost)"""


def program(body: str) -> str:
    return MAIN.format(body=body)


@pytest.fixture
def mic() -> Iterator[VirtualMic]:
    with VirtualMic() as virtual:
        yield virtual


@pytest.fixture(scope="module")
def shared_mic() -> Iterator[VirtualMic]:
    """For tests that leave it as it was."""
    with VirtualMic() as virtual:
        yield virtual


@pytest.fixture(scope="module")
def clip() -> Samples:
    """A real recording where there is one, otherwise a chirp with a rough edge."""
    recordings = sorted((ROOT.parent / "shared" / "corpus" / "phrases" / "alexa").glob("*.opus"))
    if recordings:
        samples = read_audio(recordings[0])
        start, end = speech_span(samples)
        return samples[start:end]
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return np.asarray(0.5 * np.sin(2 * np.pi * (200 * t + 1_500 * t**2)), dtype=np.float32)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def likeness(clip: Samples, recording: Samples) -> float:
    """The highest normalised cross-correlation of the clip with any stretch of the recording, 0 to 1."""
    products = np.correlate(recording.astype(np.float64), clip.astype(np.float64), mode="valid")
    power = np.convolve(recording.astype(np.float64) ** 2, np.ones(len(clip)), mode="valid")
    norms: npt.NDArray[np.float64] = np.sqrt(np.maximum(power, 1e-9) * np.sum(clip.astype(np.float64) ** 2))
    return float((products / norms).max())


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 1)])
def test_what_is_played_is_what_is_heard(clip: Samples, tmp_path: Path, rate: int, channels: int) -> None:
    n_samples = len(clip) + SAMPLE_RATE
    with VirtualMic(rate, channels) as mic:
        process = mic.python(program(RECORD), str(n_samples), str(tmp_path / "heard.npy"))
        assert process.stdout and process.stdout.readline() == "recording\n"
        began = time.monotonic()
        mic.play(clip)
        assert finish(process) == (0, "0\n", "")
        seconds = time.monotonic() - began
    heard = np.load(tmp_path / "heard.npy")
    assert heard.dtype == np.float32
    assert likeness(clip, heard) > 0.98
    assert seconds == pytest.approx(n_samples / SAMPLE_RATE, abs=0.5), "sound is lost or made up"


@pytest.mark.parametrize("loss", ["unplug", "kill"])
def test_a_microphone_that_vanishes(mic: VirtualMic, loss: str) -> None:
    process = mic.python(program('record("pulse", 10**9)'))
    assert process.stdout and process.stdout.readline() == "recording\n"
    began = time.monotonic()
    getattr(mic, loss)()
    assert finish(process) == (1, "", "microphone 'pulse' vanished; is it unplugged?\n")
    assert time.monotonic() - began < 2.0


def test_a_sound_server_that_hangs(mic: VirtualMic) -> None:
    body = 'microphone.VANISHED_S = microphone.CLOSE_S = 0.5; record("pulse", 10**9)'
    process = mic.python(program(body))
    assert process.stdout and process.stdout.readline() == "recording\n"
    mic.freeze()
    code, _, err = finish(process)
    assert code == 1
    assert err.splitlines() == [
        "microphone 'pulse' does not let go; leaving it",
        "microphone 'pulse' vanished: no sound for 0.5 s",
    ]


def test_a_slow_listener_loses_sound_and_says_so(shared_mic: VirtualMic) -> None:
    """Two pauses of 0.5 s where 0.1 s may wait: two gaps, each reported once."""
    body = """microphone.QUEUE_S = 0.1
        with Microphone("pulse") as source:
            blocks, heard, gaps = iter(source), 0, []
            heard += len(next(blocks))
            began = microphone.time.monotonic()
            while len(gaps) < 2:
                microphone.time.sleep(0.5)
                while not isinstance(block := next(blocks), microphone.Gap):
                    heard += len(block)
                gaps.append(block.n_samples)
                waits = source.lag_s
                heard += len(next(blocks))
            passed = microphone.time.monotonic() - began
            print(heard, *gaps, source.losses, source.lost_s, waits, passed)"""
    code, out, err = finish(shared_mic.python(program(body)))
    heard, first, second, losses, lost_s, waits, passed = map(float, out.split())
    assert (code, losses) == (0, 2)
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{first / SAMPLE_RATE:.2f} s of microphone 'pulse' were lost")
    assert lines[1].endswith("this computer does not keep up")
    assert all(0.2 * SAMPLE_RATE < gap < 0.6 * SAMPLE_RATE for gap in (first, second))
    assert (first + second) / SAMPLE_RATE == pytest.approx(lost_s, abs=0.001)
    assert waits <= 0.1
    assert (heard + first + second) / SAMPLE_RATE == pytest.approx(passed, abs=0.25), "time in the stream"


def test_devices(shared_mic: VirtualMic) -> None:
    body = "[print(d.name, d.host_api, d.channels > 1, d.sample_rate, d.is_default) for d in devices()]"
    code, out, err = finish(shared_mic.python(program(body)))
    assert (code, err) == (0, "")
    assert "\npulse ALSA True 44100.0 " in "\n" + out
    assert sum(line.endswith("True") for line in out.splitlines()) == 1


def test_devices_are_printed(shared_mic: VirtualMic) -> None:
    code, out, err = finish(shared_mic.python(program("service.print_devices(as_json=False)")))
    assert (code, err) == (0, "")
    assert re.search(r"^[* ] \d+  pulse  \(ALSA, 44100 Hz, \d+ channels\)$", out, re.MULTILINE)
    code, out, err = finish(shared_mic.python(program("service.print_devices(as_json=True)")))
    assert {"pulse", "default"} <= {device["name"] for device in json.loads(out)}


def test_listening_to_the_microphone(mic: VirtualMic, tiny_model: Path) -> None:
    command = [sys.executable, "-m", "wakeword", "listen", str(tiny_model), "--device", "pulse", "--json"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=mic.env, text=True, stdout=pipe, stderr=pipe)
    assert process.stdout and process.stderr
    greeting = process.stderr.readline()
    assert greeting == "listening to pulse for hey nova, lights on; Ctrl-C ends it\n"
    mic.play(sounds(5.0, seed=3))
    assert json.loads(process.stdout.readline())["stream"] == "microphone"
    process.send_signal(signal.SIGINT)
    assert finish(process)[::2] == (0, "")


def test_find_device(shared_mic: VirtualMic) -> None:
    body = """pulse = find_device("pulse")
        assert pulse == find_device("PUL") == find_device(pulse.index) == find_device(f" {pulse.index} ")
        assert find_device().is_default and find_device(None).is_default
        for wanted in ("nova", "99", 99, "", "u"):
            try:
                print(find_device(wanted))
            except DeviceError as err:
                print(err)"""
    code, out, err = finish(shared_mic.python(program(body)))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for line, wanted in zip(lines, ["'nova'", "'99'", "99", "''"], strict=False):
        assert line.startswith(f"no microphone matches {wanted}; choose an index or a name: ")
        assert "(pulse)" in line and "(default)" in line
    assert "microphones match 'u'; give an index: " in lines[4]


@pytest.mark.skipif(
    any(Path("/proc/asound").glob("card[0-9]*")), reason="this computer has a sound card of its own"
)
def test_no_microphone_at_all(shared_mic: VirtualMic) -> None:
    code = program("record(None, 1)")
    env = shared_mic.env | {"PULSE_SERVER": "unix:/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("no microphone found; plug one in or start the sound server")
    assert done.stderr.count("\n") == 1


def test_a_microphone_gone_before_it_is_opened(mic: VirtualMic) -> None:
    body = 'find_device("pulse"); input(); record("pulse", 1)'
    command = [sys.executable, "-c", program(body)]
    process = subprocess.Popen(command, env=mic.env, text=True, stdin=-1, stdout=-1, stderr=-1)
    time.sleep(0.6)
    mic.unplug()
    out, err = process.communicate("\n", timeout=20)
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("cannot open microphone 'pulse' (")


def test_portaudio_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", program("devices()")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "PortAudio library not found; install it (Debian, Ubuntu: apt install libportaudio2)\n"
    )
