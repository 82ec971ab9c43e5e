"""A device of the C library at the other end of a pseudo-terminal, a TCP line and an emulated UART."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from c_library import compile_on_host, expected, need, random_pcm, rule_that_fires
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_network import toy_network

from firmware_bridge import frames, qemu
from firmware_bridge.bridge import DeviceLink, EventFilter
from firmware_bridge.emit_model import CModel
from firmware_bridge.frames import (
    WANT_AUDIO,
    WANT_TRACE,
    Audio,
    Deframer,
    Event,
    Hello,
    Message,
    Status,
    Trace,
)
from firmware_bridge.line import SerialLine, TcpLine, parse_address
from wakeword.errors import DeviceError, UsageError

HELLO = Hello(1, 3, 120, 4, "00" * 8, "toy phrase")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CModel]:
    """A compiled device (with sanitizers) and its model; the folder holds its microphone's sound."""
    need("gcc")
    folder = tmp_path_factory.mktemp("device")
    pcm = random_pcm(np.random.default_rng(5), 20)
    net = toy_network(3, blocks=("separable",), dilations=(2,))
    scores = expected(CModel(net, rule_that_fires(np.zeros(1, np.uint8)), "t"), pcm).scores
    model = CModel(net, rule_that_fires(scores), "test")
    compile_on_host(folder, qemu.C_DIR / "proof" / "device.c", model=model)
    pcm.tofile(folder / "input.s16")
    return folder, model


@contextmanager
def on_terminal(program: Path) -> Iterator[tuple[str, int]]:
    """The device talks by its standard input and output: our end of that line, and its own descriptor."""
    master, slave = os.openpty()
    tty.setraw(slave)
    process = subprocess.Popen([program], stdin=master, stdout=master, cwd=program.parent)
    try:
        yield os.ttyname(slave), master
    finally:
        process.kill()
        assert process.wait() in (0, 1, -9)  # 1: its line was closed; a sanitizer would end it with another
        os.close(master)
        os.close(slave)


class Bad:
    """A line on which things go wrong: it passes on what `spoil` makes of each piece."""

    def __init__(self, line: SerialLine, spoil) -> None:
        self.name, self._line, self._spoil = line.name, line, spoil

    def read(self) -> bytes:
        return self._spoil(self._line.read())

    def write(self, data: bytes) -> None:
        self._line.write(data)

    def close(self) -> None:
        self._line.close()


def collect(link: DeviceLink, n_frames: int) -> list[Message]:
    """What a device says until its status of that slice, or until it is silent."""
    found = []
    with suppress(DeviceError):
        for message in link.messages():
            if message is not None:
                found.append(message)
            if isinstance(message, Status) and message.frame >= n_frames:
                break
    return found


def test_a_device_reports_its_events_scores_and_sound(device: tuple[Path, CModel]) -> None:
    folder, model = device
    pcm = np.fromfile(folder / "input.s16", dtype=np.int16)
    want = expected(model, pcm)
    assert len(want.events) >= 2
    with (
        on_terminal(folder / "device") as (port, _),
        DeviceLink(SerialLine(port), WANT_TRACE | WANT_AUDIO) as link,
    ):
        assert link.hello == Hello(
            1, 3, model.rule.cutoff, model.rule.window, model.sha256[:16], "toy phrase"
        )
        messages = collect(link, 1900)
        assert link.counts == frames.LinkCounts()
    events = EventFilter(link.hello)
    found = [d for m in messages if (d := events.feed(m)) is not None]
    in_time = want.events[want.events < 1900]
    np.testing.assert_allclose([d.time_s for d in found], (in_time * 10 + 30) / 1000)
    assert {d.phrase for d in found} == {"toy phrase"}
    assert all(d.score > d.threshold - 1 / 255 for d in found)
    scores = np.concatenate([m.scores for m in messages if isinstance(m, Trace)])
    np.testing.assert_array_equal(scores, want.scores[: len(scores)])
    sound = np.concatenate([m.pcm for m in messages if isinstance(m, Audio)])
    np.testing.assert_array_equal(sound, pcm[: len(sound)])
    assert len(sound) > 18 * 16000
    assert all(m.dropped == 0 for m in messages if isinstance(m, Status))


@pytest.mark.parametrize("how", ["corrupted", "truncated", "flooded"])
def test_a_bad_line_loses_frames_but_no_events(device: tuple[Path, CModel], how: str) -> None:
    folder, model = device
    want = expected(model, np.fromfile(folder / "input.s16", dtype=np.int16))
    random = np.random.default_rng(6)

    def spoil(data: bytes) -> bytes:
        if not data or random.random() < 0.3:
            return data
        at = int(random.integers(len(data)))
        if how == "corrupted":
            return data[:at] + bytes([data[at] ^ int(random.integers(1, 256))]) + data[at + 1 :]
        if how == "truncated":
            return data[:at] + data[at + int(random.integers(1, 20)) :]
        return data[:at] + random.bytes(3000) + b"\x00" + b"\x55" * 5000 + data[at:]

    with on_terminal(folder / "device") as (port, _):
        line = SerialLine(port)
        with DeviceLink(line, WANT_TRACE) as link:
            link._line = Bad(line, spoil)
            link._silent_s = 2
            messages = collect(link, 1900)
    counts = link.counts
    assert counts.damaged + counts.overlong + counts.missing > 5
    events = EventFilter(link.hello)
    found = [d.time_s for m in messages if (d := events.feed(m)) is not None]
    told = [m.frame for m in messages if isinstance(m, Event | Status)]
    between = (want.events >= told[0]) & (want.events < told[-1])
    times = (want.events[between] * 10 + 30) / 1000
    # A status repeats the last event; of two events between two of them one may be lost, and is counted.
    # What came before the device's first whole word, or after its last, nobody can know of.
    assert set(found) <= set((want.events * 10 + 30) / 1000)
    assert len(set(times) - set(found)) <= events.lost
    assert len(set(found)) == len(found)
    assert len(found) >= 2


def test_a_device_survives_what_the_host_sends(device: tuple[Path, CModel]) -> None:
    folder, _ = device
    random = np.random.default_rng(7)
    with on_terminal(folder / "device") as (port, _):
        line = SerialLine(port)
        for _ in range(20):
            line.write(b"\xff" * 400 + frames.ask(1, 0)[:-3] + b"\x00" + random.bytes(300) + b"\x00")
        with DeviceLink(line) as link:
            messages = collect(link, 200)
    status = next(m for m in messages if isinstance(m, Status))
    assert status.bad_frames > 20
    assert not any(isinstance(m, (Trace, Audio)) for m in messages)


def test_an_emulated_microcontroller_on_its_uart(device: tuple[Path, CModel], tmp_path: Path) -> None:
    folder, model = device
    core = qemu.CORES["cortex-m4"]
    need(*core.tools)
    includes = [qemu.C_DIR, folder, qemu.C_DIR / "proof"]
    sources = [*sorted(qemu.C_DIR.glob("ww*.c")), folder / "ww_model.c"]
    objects = qemu.compile_objects(core, sources, includes, tmp_path)
    qemu.link(core, qemu.C_DIR / "proof" / "device.c", objects, includes, tmp_path / "device.elf")
    want = expected(model, np.fromfile(folder / "input.s16", dtype=np.int16))
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        port = server.getsockname()[1]
        command = qemu.emulator_command(core, tmp_path / "device.elf", serial=f"tcp:127.0.0.1:{port}")
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL)
        stack.callback(process.wait, 20)
        stack.callback(process.kill)
        server.settimeout(20)
        line = TcpLine.__new__(TcpLine)
        line.name, (line._socket, _) = "uart", server.accept()
        line._socket.settimeout(0.2)
        with DeviceLink(line, WANT_TRACE, greeting_s=20, silent_s=20) as link:
            assert link.hello.phrase == "toy phrase"
            messages = collect(link, 1900)
            assert link.counts == frames.LinkCounts()
    events = EventFilter(link.hello)
    found = [d.time_s for m in messages if (d := events.feed(m)) is not None]
    np.testing.assert_allclose(found, (want.events[want.events < 1900] * 10 + 30) / 1000)


@contextmanager
def answering(*replies: bytes) -> Iterator[str]:
    """A terminal at whose other end each question gets the next of these answers; then it hangs up."""
    master, slave = os.openpty()
    tty.setraw(slave)

    def answer() -> None:
        for reply in replies:
            os.read(master, 100)
            os.write(master, reply)

    thread = threading.Thread(target=answer)
    thread.start()
    yield os.ttyname(slave)
    thread.join(20)
    os.close(master)
    os.close(slave)


def hello(version: int, phrase: str) -> bytes:
    body = bytes((version, 3, 0x70, 5)) + bytes(8) + phrase.encode()
    return frames.frame(frames.HELLO, 0, body)


def test_devices_that_do_not_say_what_they_are() -> None:
    with answering(b"") as port, pytest.raises(DeviceError, match=r"silent for 0\.5 s"):
        DeviceLink(SerialLine(port), greeting_s=0.5)
    with (
        answering(b"rst:0x1 (POWERON_RESET)\r\n") as port,
        pytest.raises(DeviceError, match=r"25 bytes came in 0\.5 s, but no frame"),
    ):
        DeviceLink(SerialLine(port), greeting_s=0.5)
    with answering(hello(9, "?")) as port, pytest.raises(DeviceError, match="speaks version 9"):
        DeviceLink(SerialLine(port))


def test_a_device_that_falls_silent_or_is_unplugged() -> None:
    with answering(hello(1, "grüß dich")) as port, DeviceLink(SerialLine(port), silent_s=0.5) as link:
        assert link.hello.phrase == "grüß dich"
        with pytest.raises(DeviceError, match=r"said nothing for 0\.5 s"):
            list(link.messages())
    with answering(hello(1, "a")) as port:
        link = DeviceLink(SerialLine(port))
    with link, pytest.raises(DeviceError, match="is gone"):
        list(link.messages())


def test_ports_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"no serial port /dev/ttyNONE; there are: .*plugged in"):
        SerialLine("/dev/ttyNONE")
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match="cannot be opened as a serial port"):
        SerialLine(str(tmp_path / "file"))
    master, slave = os.openpty()
    held = SerialLine(os.ttyname(slave))
    with pytest.raises(DeviceError, match="in use by another program"):
        SerialLine(os.ttyname(slave))
    held.close()
    with pytest.raises(UsageError, match="--baud 123456789"):
        SerialLine(os.ttyname(slave), 123456789123)
    monkeypatch.setattr(os, "open", _denied)  # root may open anything
    with pytest.raises(DeviceError, match=r"no permission for .*dialout"):
        SerialLine(os.ttyname(slave))
    monkeypatch.undo()
    os.close(master)
    os.close(slave)


def _denied(path: str, *_: object) -> int:
    raise PermissionError(13, "Permission denied", path)


def test_tcp_lines_that_fail() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        line = TcpLine(host, port)
        with pytest.raises(DeviceError, match=r"closed the connection|broke"):
            for _ in range(50):
                line.read()
        line.close()
    with pytest.raises(DeviceError, match=rf"cannot connect to 127.0.0.1:{port}: Connection refused"):
        TcpLine(host, port)
    assert parse_address("box:3333") == ("box", 3333)
    assert parse_address("[::1]:80") == ("::1", 80)
    for bad in ("box", "box:", ":1", "box:0", "box:70000", "box:x"):
        with pytest.raises(UsageError, match="--tcp"):
            parse_address(bad)


@given(st.binary(max_size=240), st.integers(1, 5), st.integers(0, 255), st.data())
@settings(max_examples=200, deadline=None)
def test_frames_survive_any_bytes_around_and_any_cut(
    body: bytes, kind: int, number: int, data: st.DataObject
) -> None:
    encoded = frames.frame(kind, number, body)
    assert encoded[1:-1].count(0) == 0
    assert frames.unpack(encoded[1:-1]) == bytes((kind, number)) + body
    stream = data.draw(st.binary(max_size=600)) + encoded
    cut = data.draw(st.integers(0, len(stream)))
    deframer, whole = Deframer(), Deframer()
    pieces = deframer.feed(stream[:cut]) + deframer.feed(stream[cut:])
    assert [type(m) for m in pieces] == [type(m) for m in whole.feed(stream)]
    assert deframer.counts == whole.counts
    parsed = frames.parse(kind, body)
    if parsed is not None:
        assert type(pieces[-1]) is type(parsed)


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_noise_is_never_a_message(noise: bytes) -> None:
    deframer = Deframer()
    assert deframer.feed(noise + b"\x00") == []
    assert len(deframer._partial) <= frames.MAX_ENCODED


def test_events_are_told_once() -> None:
    events = EventFilter(HELLO)
    assert events.feed(Status(5000, Event(7, 4000, 200, 250), 0, 0)) is None  # before we came
    first = events.feed(Event(8, 5200, 201, 250))
    assert first is not None and (first.time_s, round(first.score, 3)) == (52.02, round(201 / 255, 3))
    assert events.feed(Event(8, 5200, 201, 250)) is None
    assert events.feed(Status(5300, Event(8, 5200, 201, 250), 0, 0)) is None
    late = events.feed(Status(5500, Event(9, 5410, 150, 160), 0, 0))  # its own frame was lost
    assert late is not None and late.time_s == 54.12
    assert events.feed(Event(10, 5503, 150, 160)) is None and events.implausible == 1
    assert events.feed(Event(13, 9000, 150, 160)) is not None and events.lost == 3
    again = events.feed(Status(100, Event(1, 90, 150, 160), 0, 0))  # it was restarted
    assert again is not None and again.time_s == 0.92
    assert events.feed(Status(200, None, 0, 0)) is None


def test_a_restarted_device_is_no_loss() -> None:
    deframer = Deframer()
    hello = b"\x01\x03\x70\x05" + bytes(8) + b"a"
    deframer.feed(frames.frame(1, 9, hello) + frames.frame(4, 10, bytes(5)) + frames.frame(4, 13, bytes(5)))
    assert deframer.counts.missing == 2
    deframer.feed(frames.frame(1, 0, hello))
    assert deframer.counts.missing == 2
