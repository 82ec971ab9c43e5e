"""A microphone that is unplugged and comes back, through the real PortAudio, ALSA and PulseAudio."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny import sounds
from virtual_mic import ROOT, VirtualMic

pytestmark = pytest.mark.mic


@pytest.fixture
def mic() -> Iterator[VirtualMic]:
    with VirtualMic() as virtual:
        yield virtual


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(mic: VirtualMic) -> Iterator[Start]:
    """Starts `wakeword listen` with this microphone; ends it in any case."""
    started: list[subprocess.Popen[str]] = []

    def begin(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "wakeword", "listen", *args]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, env=mic.env, text=True, stdout=pipe, stderr=pipe)
        started.append(process)
        return process

    yield begin
    for process in started:
        with process:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_unplugged_and_plugged_in_again(mic: VirtualMic, start: Start, tiny_model: Path) -> None:
    """Lost is said once, found is said once, and then it hears: twice."""
    process = start(str(tiny_model), "--device", "pulse", "--json")
    assert process.stdout and process.stderr
    assert process.stderr.readline().startswith("listening to pulse for hey nova")
    for _ in range(2):
        mic.unplug()
        lost = process.stderr.readline()
        assert lost == "microphone: microphone 'pulse' vanished; is it unplugged?\n"
        assert process.stderr.readline().startswith("microphone: cannot open microphone 'pulse' (")
        mic.plug()
        assert process.stderr.readline() == "microphone: listening to pulse again\n"
        mic.play(sounds(4.0, seed=3))
        heard = json.loads(process.stdout.readline())
        assert heard["stream"] == "microphone"
    assert finish(process) == (0, "")


def test_a_microphone_that_comes_later(
    mic: VirtualMic, start: Start, tiny_model: Path, tmp_path: Path
) -> None:
    mic.unplug()
    config = tmp_path / "listen.toml"
    config.write_text(f'[[models]]\npath = "{tiny_model}"\n[microphone]\ndevice = "pulse"\nchannel = 2\n')
    process = start("--config", str(config))
    assert process.stdout and process.stderr
    assert process.stderr.readline().startswith("microphone: cannot open microphone 'pulse' (")
    assert process.stderr.readline().startswith("listening to pulse, once it is there, for hey nova")
    mic.plug()
    assert process.stderr.readline() == "microphone: listening to pulse again\n"
    mic.play(sounds(5.0, seed=3))
    assert "  score " in process.stdout.readline()
    assert finish(process) == (0, "")


def test_a_channel_there_is_not(mic: VirtualMic) -> None:
    code = """
import sys
from wakeword.errors import DeviceError
from wakeword.listen.microphone import Microphone, quiet_portaudio
with quiet_portaudio():
    try:
        Microphone("pulse", 65)
    except DeviceError as err:
        print(err)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=mic.env, capture_output=True, text=True)
    assert done.stdout == "'pulse' has 32 channels; there is no channel 65\n"
