"""The listener as a service: unit texts that systemd itself accepts, and signs of life on a real socket."""

from __future__ import annotations

import os
import plistlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wakeword.cli import main
from wakeword.errors import UsageError, WakewordError
from wakeword.listen import unit_notify
from wakeword.listen.listener import Listener
from wakeword.listen.settings import ListenSettings, ModelSettings
from wakeword.listen.unit import Service, launchd_plist, systemd_unit
from wakeword.listen.unit_notify import Systemd, watchdog_s


@pytest.fixture
def config(tiny_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "my $settings 50%" / "listen.toml"
    path.parent.mkdir()
    path.write_text(f'[[models]]\npath = "{tiny_model}"\n[save]\nfolder = "heard here"\n')
    return path


def test_systemd_accepts_the_unit(
    config: Path, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    assert main(["service", "install", "--config", str(config), "--print"]) == 0
    unit = tmp_path / "wakeword.service"
    unit.write_bytes(capsysbinary.readouterr().out)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", unit],
        capture_output=True, text=True, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_unit_names_its_folders_and_takes_odd_paths_literally(config: Path) -> None:
    text = systemd_unit(Service("wakeword", config, (config.parent / "heard here",)))
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    folder = str(config.parent).replace("%", "%%")
    assert lines["WorkingDirectory"] == folder
    assert lines["ReadWritePaths"] == f'"-{folder}" "-{folder}/heard here"'
    assert lines["ExecStart"].endswith(f'--config "{folder.replace("$", "$$")}/listen.toml"')
    assert (lines["Type"], lines["NoNewPrivileges"], lines["ProtectSystem"]) == ("notify", "yes", "strict")


def test_launchd_agent(config: Path) -> None:
    agent = plistlib.loads(launchd_plist(Service("wakeword", config), Path("/tmp/wakeword.log")))
    assert agent["ProgramArguments"][1:] == ["-m", "wakeword", "listen", "--config", str(config)]
    assert (agent["Label"], agent["RunAtLoad"]) == ("org.wakeword.wakeword", True)


@pytest.mark.parametrize("name", ["", "../evil", "a b", "x\nExecStart=/bin/sh", "-x"])
def test_a_service_name_cannot_leave_its_folder(name: str, config: Path) -> None:
    with pytest.raises(UsageError, match="service name"):
        Service(name, config)


def test_a_path_cannot_add_lines_to_the_unit() -> None:
    with pytest.raises(UsageError, match="printable"):
        Service("wakeword", Path("/home/x\nExecStart=/bin/sh/listen.toml"))


@pytest.mark.parametrize(
    "text, message, code",
    [
        ("", "names no model", 2),
        ('[[models]]\npath = "none.wakeword"\n', "does not exist", 1),
        ("nonsense = 1\n", "unknown key 'nonsense'", 2),
    ],
)
def test_a_service_that_could_not_start_is_not_written(
    text: str, message: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "listen.toml").write_text(text)
    assert main(["service", "install", "--config", str(tmp_path / "listen.toml"), "--print"]) == code
    assert message in capsys.readouterr().err


def test_install_writes_the_unit_and_says_what_the_manager_answers(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real systemctl, pointed at a runtime folder without a manager."""
    if shutil.which("systemctl") is None:
        pytest.skip("no systemctl here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    assert main(["service", "install", "--config", str(config)]) == 1
    out, err = capsys.readouterr()
    path = tmp_path / "config" / "systemd" / "user" / "wakeword.service"
    assert out == f"wrote {path}\n"
    assert err.startswith("wakeword: systemctl --user daemon-reload failed: ")
    assert "Type=notify" in path.read_text()


def test_uninstalling_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["service", "uninstall"]) == 1
    assert "no service 'wakeword' is installed" in capsys.readouterr().err


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end of a real datagram socket."""
    address = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(address))
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        yield receiver


def test_ready_alive_stuck_and_stopping(manager: socket.socket, tiny_model: Path) -> None:
    listener = Listener(ListenSettings(models=(ModelSettings(path=str(tiny_model)),)))
    part = unit_notify.start(listener)
    ready = manager.recv(4096).decode().split("\n")
    assert ready == ["READY=1", "STATUS=listening for hey nova, lights on"]
    assert manager.recv(4096) == b"WATCHDOG=1"
    listener.turned_s = time.monotonic() - 2 * unit_notify.STUCK_S
    while (said := manager.recv(4096)) == b"WATCHDOG=1":
        pass  # was on its way
    assert said.startswith(b"STATUS=stuck")
    listener.turned_s = time.monotonic()
    while (said := manager.recv(4096)).startswith(b"STATUS=stuck"):
        pass
    assert said == b"WATCHDOG=1"
    part.close()
    part.close()
    while (said := manager.recv(4096)) == b"WATCHDOG=1":
        pass
    assert said == b"STOPPING=1"


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0wakeword-test-{os.getpid()}")
        receiver.settimeout(10)
        systemd = Systemd(f"@wakeword-test-{os.getpid()}")
        assert systemd.tell(READY=1)
        assert receiver.recv(100) == b"READY=1"
        systemd.close()


def test_a_manager_that_is_gone_harms_nothing(tmp_path: Path) -> None:
    systemd = Systemd(str(tmp_path / "none"))
    assert not systemd.tell(READY=1)
    systemd.close()
    with pytest.raises(WakewordError, match="NOTIFY_SOCKET"):
        Systemd("relative")


def test_watchdog_is_for_one_process() -> None:
    assert watchdog_s({"WATCHDOG_USEC": "30000000"}) == 30
    assert watchdog_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 30
    assert watchdog_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_s({}) is None
