"""A microphone where there is none: a private PulseAudio server whose null sink plays into its own source.

PortAudio, ALSA and PulseAudio are the real ones and run in real time. PortAudio lists devices once per
process, so whatever records runs in a subprocess with `VirtualMic.env`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import pytest
import soundfile

from wakeword.audio import SAMPLE_RATE, Samples

ROOT = Path(__file__).resolve().parents[1]


class VirtualMic:
    """A running server with the input device `pulse`; a context manager."""

    def __init__(self, rate: int = 48_000, channels: int = 2) -> None:
        if missing := [tool for tool in ("pulseaudio", "pactl", "paplay") if shutil.which(tool) is None]:
            pytest.skip(f"not installed: {', '.join(missing)}")
        # A socket's path may have 107 characters, so not pytest's own long folder names.
        self.folder = Path(tempfile.mkdtemp(prefix="vmic"))
        server = f"unix:{self.folder}/pulse/native"
        self.env = os.environ | {
            "XDG_RUNTIME_DIR": str(self.folder),
            "HOME": str(self.folder),
            "PULSE_SERVER": server,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        }
        self._process = self._start()
        # norewinds: without it the sink renders two seconds at a time while no one listens
        self._made_of = ["sink_name=vmic", f"rate={rate}", f"channels={channels}", "norewinds=1"]
        self.plug()

    def __enter__(self) -> VirtualMic:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def play(self, samples: Samples) -> None:
        """Play mono 16 kHz samples to their end, as sound that reaches the microphone."""
        clip = self.folder / "clip.wav"
        soundfile.write(clip, samples, SAMPLE_RATE, subtype="PCM_16")
        subprocess.run(["paplay", "--device=vmic", clip], env=self.env, check=True, timeout=30)

    def python(self, code: str, *args: str) -> subprocess.Popen[str]:
        """Start a Python program that has this microphone."""
        command = [sys.executable, "-c", code, *args]
        return subprocess.Popen(
            command, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def plug(self) -> None:
        """Bring the microphone, once more after `unplug`."""
        self._sink = self._pactl("load-module", "module-null-sink", *self._made_of)
        self._pactl("set-default-source", "vmic.monitor")

    def unplug(self) -> None:
        """Take the microphone away from whoever records."""
        self._pactl("unload-module", self._sink)

    def freeze(self) -> None:
        """Stop the server without closing its connections."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End the server at once."""
        self._process.kill()
        self._process.wait(10)

    def _start(self) -> subprocess.Popen[bytes]:
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes"]
        process = subprocess.Popen(
            [*command, "--log-level=error", "-L", "module-native-protocol-unix"],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(100):
            if (self.folder / "pulse" / "native").exists():
                return process
            time.sleep(0.05)
        process.kill()
        process.wait(10)
        pytest.skip("PulseAudio does not start here")

    def _pactl(self, *args: str) -> str:
        done = subprocess.run(
            ["pactl", *args], env=self.env, check=True, capture_output=True, text=True, timeout=10
        )
        return done.stdout.strip()
