"""A real listener on a virtual microphone: how soon it is back after an unplug, how late its outputs are."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples, speech_span
from wakeword.listen.events import Pulse, SourceState
from wakeword.listen.lasting import LastingMicrophone
from wakeword.listen.listener import Listener
from wakeword.listen.settings import ListenSettings, MicrophoneSettings, ModelSettings, OutputSettings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

UNPLUGS = 10
CLIPS = 30
WAIT_S = 3.0
"""After a phrase, until its outputs count as missing."""


def replug(model: Path) -> dict[str, Any]:
    """Unplug and plug in ten times; seconds from plugged in to heard again."""
    from virtual_mic import VirtualMic

    with VirtualMic() as mic:
        os.environ.update(mic.env)
        listener = Listener(
            ListenSettings(models=(ModelSettings(path=str(model)),), output=OutputSettings(format="none"))
        )
        events = listener.hub.subscribe("benchmark", SourceState, Pulse, size=10_000)
        source = LastingMicrophone(MicrophoneSettings(device="pulse"), listener.hub)
        thread = threading.Thread(target=listener.run, args=(source,))
        thread.start()
        _next(events, lambda e: isinstance(e, Pulse), 20)
        noticed, back = [], []
        for i in range(UNPLUGS):
            mic.unplug()
            began_s = time.monotonic()
            _next(events, lambda e: isinstance(e, SourceState) and e.state == "lost", 20)
            noticed.append(time.monotonic() - began_s)
            time.sleep(0.5 + i)  # from half a second to ten
            mic.plug()
            began_s = time.monotonic()
            _next(events, lambda e: isinstance(e, SourceState) and e.state == "listening", 30)
            _next(events, lambda e: isinstance(e, Pulse), 30)
            back.append(time.monotonic() - began_s)
        listener.stop()
        source.close()
        thread.join(10)
    return {
        "unplugged": UNPLUGS,
        "came back": source.returns,
        "noticed after s": [round(x, 2) for x in noticed],
        "heard again after s": [round(x, 2) for x in back],
        "worst s": round(max(back), 2),
    }


def _next(events: Any, wanted: Callable[[Any], bool], timeout_s: float) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        event = events.get(deadline - time.monotonic())
        if event is not None and wanted(event):
            return event
    raise SystemExit("the listener did not do what was expected in time")


class Monitor:
    """What the microphone gives, read at once and with the time at which it came."""

    def __init__(self, env: dict[str, str]) -> None:
        command = ["parec", "-d", "vmic.monitor", "--rate=16000", "--channels=1", "--format=s16le"]
        self._process = subprocess.Popen([*command, "--latency-msec=10", "--raw"], env=env, stdout=-1)
        self._blocks: list[tuple[float, Samples]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def end_of_speech(self, since: float) -> float:
        """Wall-clock time at which the last of the speech since then came."""
        blocks = [(at, block) for at, block in self._blocks if at >= since]
        _, end = speech_span(np.concatenate([block for _, block in blocks]))
        for at, block in blocks:
            end -= len(block)
            if end <= 0:
                return at
        return blocks[-1][0]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout
        while data := os.read(self._process.stdout.fileno(), 4_096):
            block = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.float32) / 32_768
            self._blocks.append((time.time(), block))


class Outputs:
    """Times at which each output told of a detection."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.times: dict[str, list[float]] = {}
        self._folder, self._ports = folder, ports
        self._stop, self.served = threading.Event(), threading.Event()

    def note(self, name: str) -> None:
        self.times.setdefault(name, []).append(time.time())

    def watch(self, process: subprocess.Popen[str]) -> None:
        """Begin; each output in a thread of its own."""
        for job in (lambda: self._lines(process), self._saved, self._metrics, self._wyoming):
            threading.Thread(target=job, daemon=True).start()
        self._webhook()
        if "mqtt" in self._ports:
            self._mqtt()

    def wait_until_served(self) -> None:
        """Until the daemon answers; SystemExit where it never does."""
        for _ in range(1_200):
            if self.served.wait(0.1):
                return
        raise SystemExit("the listener does not answer")

    def first_after(self, name: str, at: float) -> float | None:
        return next((t for t in self.times.get(name, []) if at - 1.0 < t < at + WAIT_S), None)

    def _lines(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for _ in process.stdout:
            self.note("JSON line")

    def _saved(self) -> None:
        seen: set[str] = set()
        while not self._stop.wait(0.005):
            for path in (self._folder / "saved").glob("*.json"):
                if path.name not in seen:
                    seen.add(path.name)
                    self.note("saved clip")

    def _metrics(self) -> None:
        before = 0.0
        while not self._stop.wait(0.02):
            with suppress(OSError):
                url = f"http://127.0.0.1:{self._ports['web']}/metrics"
                text = urllib.request.urlopen(url, timeout=2).read().decode()
                lines = [s for s in text.splitlines() if s.startswith("wakeword_detections_total")]
                now = sum(float(line.rpartition(" ")[2]) for line in lines)
                if now > before:
                    self.note("metrics")
                before = now
                self.served.set()

    def _webhook(self) -> None:
        outputs = self

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                outputs.note("webhook")
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self._ports["webhook"]), Receive)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def _mqtt(self) -> None:
        import paho.mqtt.client as mqtt

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_message = lambda _c, _u, m: self.note("MQTT") if b"event_type" in m.payload else None
        client.connect("127.0.0.1", self._ports["mqtt"])
        client.subscribe("wakeword/#")
        client.loop_start()

    def _wyoming(self) -> None:
        asyncio.run(self._wyoming_client())

    async def _wyoming_client(self) -> None:
        from wyoming.client import AsyncTcpClient
        from wyoming.wake import Detect, Detection

        while True:
            with suppress(OSError):
                async with AsyncTcpClient("127.0.0.1", self._ports["wyoming"]) as client:
                    await client.write_event(Detect().event())
                    while (event := await client.read_event()) is not None:
                        if Detection.is_type(event.type):
                            self.note("Wyoming")
                            await client.write_event(Detect().event())
            await asyncio.sleep(0.1)


CONFIG = """
[[models]]
path = "{model}"
[microphone]
device = "pulse"
[output]
format = "json"
[[webhooks]]
url = "http://127.0.0.1:{webhook}/"
[save]
folder = "{folder}/saved"
[wyoming]
uri = "tcp://127.0.0.1:{wyoming}"
[web]
enabled = true
port = {web}
"""


def latency(model: Path, phrases: list[Samples]) -> dict[str, Any]:
    """Play phrases to the microphone of a running daemon; milliseconds to each of its outputs."""
    from virtual_mic import VirtualMic

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mic = stack.enter_context(VirtualMic())
        ports = {name: _free_port() for name in ("webhook", "wyoming", "web")}
        text = CONFIG.format(model=model.absolute(), folder=folder, **ports)
        if broker := shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto"):
            ports["mqtt"] = _free_port()
            (folder / "mosquitto.conf").write_text(
                f"listener {ports['mqtt']} 127.0.0.1\nallow_anonymous true\n"
            )
            _run(stack, [broker, "-c", str(folder / "mosquitto.conf")], mic.env)
            time.sleep(1.0)
            text += f'[mqtt]\nhost = "127.0.0.1"\nport = {ports["mqtt"]}\n'
        (folder / "listen.toml").write_text(text)
        command = [sys.executable, "-m", "wakeword", "listen", "--config", str(folder / "listen.toml")]
        daemon = _run(stack, command, mic.env, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        outputs = Outputs(folder, ports)
        outputs.watch(daemon)
        monitor = Monitor(mic.env)
        stack.callback(monitor.close)
        outputs.wait_until_served()
        time.sleep(4.0)  # until a window is full, and every client has connected
        rows = [_play(mic, phrase, monitor, outputs) for phrase in _choose(phrases)]
    return _summary(rows)


def _choose(phrases: list[Samples]) -> list[Samples]:
    rng = np.random.default_rng(3)
    return [phrases[i] for i in rng.choice(len(phrases), CLIPS, replace=False)]


def _play(mic: Any, phrase: Samples, monitor: Monitor, outputs: Outputs) -> dict[str, float | None]:
    began = time.time()
    mic.play(np.concatenate([np.zeros(SAMPLE_RATE // 2), phrase]).astype(np.float32))
    time.sleep(WAIT_S)
    ended = monitor.end_of_speech(began)
    names = ("JSON line", "webhook", "Wyoming", "MQTT", "metrics", "saved clip")
    found = {name: outputs.first_after(name, ended) for name in names}
    return {name: None if at is None else 1000 * (at - ended) for name, at in found.items()}


def _summary(rows: list[dict[str, float | None]]) -> dict[str, Any]:
    heard = [row for row in rows if any(ms is not None for ms in row.values())]
    figures: dict[str, Any] = {
        "phrases played": len(rows),
        "phrases heard": len(heard),
        "heard and told by every output": sum(all(ms is not None for ms in row.values()) for row in heard),
    }
    for name in rows[0]:
        times = [ms for row in heard if (ms := row[name]) is not None]
        if times:
            median, p95 = np.percentile(times, [50, 95])
            figures[name] = (
                f"{len(times)} times, median {median:.0f} ms, p95 {p95:.0f} ms, max {max(times):.0f} ms"
            )
    figures["note"] = "a saved clip holds half a second more than the phrase, and is written after that"
    return figures


def _run(stack: ExitStack, command: list[str], env: dict[str, str], **more: Any) -> subprocess.Popen[Any]:
    log = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    process = subprocess.Popen(command, env=env, stderr=log, **({"stdout": log} | more))

    def end() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        log.seek(0)
        print(log.read().decode(errors="replace"), file=sys.stderr)

    stack.callback(end)
    return process


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
