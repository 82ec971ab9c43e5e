"""A real MQTT broker for tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from local_servers import wait_until


class Broker:
    """A real mosquitto on a free port; can be stopped and started."""

    def __init__(self, folder: Path, *lines: str) -> None:
        program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
        if program is None:
            pytest.skip("not installed: mosquitto")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        config = folder / "mosquitto.conf"
        lines = lines or ("allow_anonymous true",)
        if os.geteuid() == 0:  # else it would become a user who may not read our folder
            lines = ("user root", *lines)
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *lines, ""]))
        self._command = [program, "-c", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
