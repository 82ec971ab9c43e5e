"""`wakeword firmware listen` and `flash`, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tty
from pathlib import Path

import numpy as np
import pytest
from c_library import compile_on_host, expected, need, random_pcm, rule_that_fires
from click.testing import CliRunner
from toy_network import toy_network

from firmware_bridge import device_listener, frames
from firmware_bridge.bridge import DeviceLink
from firmware_bridge.device_listener import DeviceListener
from firmware_bridge.emit_model import CModel
from firmware_bridge.flash import run_flash
from firmware_bridge.frames import Message
from firmware_bridge.qemu import C_DIR
from wakeword.audio import read_audio
from wakeword.cli import main
from wakeword.commands.firmware_device import flash
from wakeword.errors import DeviceError, UsageError, WakewordError
from wakeword.listen.events import Clip, Heard, Lost, Pulse, SourceState
from wakeword.listen.settings import ListenSettings, OutputSettings

PHRASE = "toy phrase"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, list[float]]:
    """A compiled device, the sound it hears, and the times of its events."""
    need("gcc")
    folder = tmp_path_factory.mktemp("device")
    pcm = random_pcm(np.random.default_rng(5), 12)
    net = toy_network(3, blocks=("separable",), dilations=(2,))
    rule = rule_that_fires(expected(CModel(net, rule_that_fires(np.zeros(1, np.uint8)), ""), pcm).scores)
    model = CModel(net, rule, "test")
    program = compile_on_host(folder, C_DIR / "proof" / "device.c", model=model)
    pcm.tofile(folder / "input.s16")
    events = expected(model, pcm).events
    assert len(events) >= 2
    return program, pcm, [round((10 * i + 30) / 1000, 2) for i in events.tolist()]


class Terminal:
    """A pseudo-terminal whose other end is a device; unplugging it is `unplug`."""

    def __init__(self, program: Path) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._process = subprocess.Popen(
            [program], stdin=self._master, stdout=self._master, cwd=program.parent
        )

    def unplug(self) -> None:
        self._process.wait(60)
        os.close(self._master)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._slave)


def test_a_device_is_a_source_like_any_other(
    device: tuple[Path, np.ndarray, list[float]], tmp_path: Path
) -> None:
    program, pcm, times = device
    config = tmp_path / "listen.toml"
    config.write_text(
        '[output]\nformat = "json"\n'
        "[[commands]]\nshell = 'echo \"$WAKEWORD_PHRASE\" >> heard.txt'\n"
        '[save]\nfolder = "saved"\n[clip]\npre_s = 0.5\npost_s = 0.25\n'
    )
    terminal = Terminal(program)
    command = [sys.executable, "-m", "wakeword", "firmware", "listen", "--port", terminal.port, "--once"]
    command += [
        "--config",
        str(config),
        "--trace",
        str(tmp_path / "scores.csv"),
        "--audio",
        str(tmp_path / "a.wav"),
    ]
    listener = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    )
    terminal.unplug()  # once it has heard all
    out, err = listener.communicate(timeout=60)
    terminal.close()
    assert listener.returncode == 0, err
    assert f"listens for {PHRASE}" in err and "the device is gone" in err
    told = [json.loads(line) for line in out.splitlines()]
    assert [entry["time_s"] for entry in told] == times
    assert {entry["phrase"] for entry in told} == {PHRASE}
    assert {entry["stream"] for entry in told} == {f"device {terminal.port}"}
    assert (tmp_path / "heard.txt").read_text().split("\n") == [PHRASE] * len(times) + [""]
    saved = sorted((tmp_path / "saved").rglob("*.wav"))
    assert len(saved) == len(times)
    assert 0.5 < len(read_audio(saved[0])) / 16000 <= 0.76
    sound = np.round(read_audio(tmp_path / "a.wav") * 32768).astype(np.int16)
    np.testing.assert_array_equal(sound, pcm[: len(sound)])
    assert len(pcm) - len(sound) < 16000
    scores = (tmp_path / "scores.csv").read_text().splitlines()
    assert scores[0] == "time_s,score" and len(scores) > 350


class Script:
    """A line that says what it is told to, piece by piece; then it is gone, or there is nothing."""

    name = "script"

    def __init__(self, *pieces: bytes, then: str = "gone") -> None:
        self._pieces, self._then = list(pieces), then

    def read(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._then == "gone":
            raise DeviceError("script: the device is gone")
        time.sleep(0.01)
        return b""

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


HELLO = frames.frame(frames.HELLO, 0, b"\x01\x03\x70\x05" + bytes(8) + PHRASE.encode())


def event(number: int, frame: int, sequence: int) -> bytes:
    body = number.to_bytes(2, "little") + frame.to_bytes(4, "little") + b"\xc8\xfa"
    return frames.frame(frames.EVENT, sequence, body)


def test_a_lost_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_listener, "RETRY_S", (0.01,))
    lines = iter([Script(HELLO, event(1, 500, 1)), None, Script(HELLO, event(1, 300, 1), then="silent")])

    def connect() -> DeviceLink:
        line = next(lines)
        if line is None:
            raise DeviceError("no serial port")
        return DeviceLink(line)

    seen: list[Message] = []
    listener = DeviceListener(
        ListenSettings(output=OutputSettings(format="none")), connect, None, seen.append
    )
    with listener.hub.subscribe("test", Heard, SourceState) as events:

        def stop_at_last(message: Message) -> None:
            seen.append(message)
            if isinstance(message, frames.Event) and message.frame == 300:
                listener.stop()

        listener._on_message = stop_at_last
        listener.run_device()
        told = [events.get(0) for _ in range(len(events))]
    assert [type(e).__name__ for e in told] == ["SourceState", "Heard", "SourceState", "SourceState", "Heard"]
    assert [e.state for e in told if isinstance(e, SourceState)] == ["listening", "lost", "listening"]
    assert [e.detection.time_s for e in told if isinstance(e, Heard)] == [5.02, 3.02]
    assert [e.number for e in told if isinstance(e, Heard)] == [1, 2]
    assert listener.engine.thresholds == {PHRASE: 112 / 255}


def test_sound_and_scores_of_a_device_reach_the_hub() -> None:
    audio = [
        frames.frame(frames.AUDIO, 2 + i, (80 * i + 400 * (i > 20)).to_bytes(4, "little") + bytes(160))
        for i in range(40)
    ]
    trace = frames.frame(frames.TRACE, 60, (9).to_bytes(4, "little") + bytes([10, 200, 30]))
    listener = DeviceListener(
        ListenSettings(output=OutputSettings(format="none")),
        lambda: DeviceLink(Script(HELLO, *audio[:10], event(1, 5, 1), *audio[10:], trace)),
    )
    with listener.hub.subscribe("test", Clip, Lost, Pulse) as events:
        listener.run_device(once=True)
        told = [events.get(0) for _ in range(len(events))]
    clip, lost, pulse = told
    assert isinstance(clip, Clip) and len(clip.samples) == 21 * 80
    assert isinstance(lost, Lost) and lost.seconds == 400 / 16000
    assert isinstance(pulse, Pulse) and pulse.scores == {PHRASE: 200 / 255}
    assert (pulse.hops, round(pulse.seconds, 3), pulse.level_dbfs) == (3, 0.09, -120)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--port", "/dev/ttyNONE"], 1, "no serial port /dev/ttyNONE"),
        (["--tcp", "127.0.0.1:1"], 1, "cannot connect to 127.0.0.1:1"),
        (["--tcp", "nowhere"], 2, "give host:port"),
        ([], 2, "one of the two"),
        (["--port", "a", "--tcp", "b:1"], 2, "one of the two"),
        (["--port", "/dev/ttyNONE", "--trace", "/nowhere/x.csv"], 1, "/nowhere/x.csv"),
    ],
)
def test_wrong_lines(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["firmware", "listen", *arguments]) == code
    assert said in capsys.readouterr().err


def idf_build(folder: Path) -> Path:
    """What `idf.py build` leaves."""
    build = folder / "build"
    for name in ("bootloader/bootloader.bin", "partition_table/partition-table.bin", "app.bin"):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_bytes(b"\xe9" + bytes(40))
    told = {
        "write_flash_args": ["--flash_mode", "dio", "--flash_size", "4MB", "--flash_freq", "80m"],
        "flash_files": {
            "0x10000": "app.bin",
            "0x0": "bootloader/bootloader.bin",
            "0x8000": "partition_table/partition-table.bin",
        },
        "extra_esptool_args": {"chip": "esp32s3"},
    }
    (build / "flasher_args.json").write_text(json.dumps(told))
    return build


def test_flash_prints_the_exact_command(tmp_path: Path) -> None:
    build = idf_build(tmp_path)
    done = CliRunner().invoke(flash, [str(tmp_path), "--port", "/dev/ttyUSB0", "--dry-run"])
    assert done.exit_code == 0
    assert done.output.split() == [
        *(sys.executable, "-m", "esptool", "--chip", "esp32s3", "--baud", "460800", "--port", "/dev/ttyUSB0"),
        *("write-flash", "--flash-mode", "dio", "--flash-size", "4MB", "--flash-freq", "80m"),
        *("0x0", str(build / "bootloader/bootloader.bin")),
        *("0x8000", str(build / "partition_table/partition-table.bin")),
        *("0x10000", str(build / "app.bin")),
    ]
    image = tmp_path / "firmware.factory.bin"
    image.write_bytes(b"\xe9" + bytes(100))
    done = CliRunner().invoke(flash, [str(image), "--chip", "esp32c3", "--dry-run"])
    assert done.output.split()[1:] == [
        *("-m", "esptool", "--chip", "esp32c3", "--baud", "460800", "write-flash", "0x0", str(image)),
    ]


def test_what_cannot_be_flashed(tmp_path: Path) -> None:
    def failure(*arguments: str) -> BaseException | None:
        return CliRunner().invoke(flash, [*arguments, "--dry-run"]).exception

    assert "no such file" in str(failure(str(tmp_path / "none.bin")))
    assert "flasher_args.json" in str(failure(str(tmp_path)))
    (tmp_path / "x.bin").write_bytes(b"MZ" + bytes(100))
    assert "begins with 4d, not e9" in str(failure(str(tmp_path / "x.bin")))
    build = idf_build(tmp_path)
    assert "built for esp32s3" in str(failure(str(build), "--chip", "esp32"))
    assert "choose one of auto" in str(failure(str(build), "--chip", "z80"))
    (build / "app.bin").unlink()
    assert "is missing from the build" in str(failure(str(build)))
    told = json.loads((build / "flasher_args.json").read_text())
    (tmp_path / "secret").touch()
    (build / "flasher_args.json").write_text(json.dumps({**told, "flash_files": {"0x0": "../secret"}}))
    assert isinstance(failure(str(build)), UsageError)
    (build / "flasher_args.json").write_text("[]")
    assert "damaged" in str(failure(str(build)))


def test_esptool_that_fails_or_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(WakewordError, match=r"pip install 'esptool>=5'"):
        run_flash([sys.executable, "-c", ""])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    run_flash([sys.executable, "-c", ""])
    with pytest.raises(DeviceError, match=r"esptool failed \(2\)"):
        run_flash([sys.executable, "-c", "raise SystemExit(2)"])
