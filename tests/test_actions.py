"""Commands, sounds, webhooks and saved clips: real processes, sockets and files, also where they fail."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from local_servers import wait_until
from tiny import sounds
from virtual_mic import ROOT, VirtualMic

from wakeword.audio import SAMPLE_RATE
from wakeword.decision import Detection
from wakeword.errors import UsageError, WakewordError
from wakeword.listen import actions, save, webhook
from wakeword.listen.events import MICROPHONE, Clip, Heard
from wakeword.listen.hub import Hub
from wakeword.listen.listener import Listener
from wakeword.listen.settings import (
    CommandSettings,
    ListenSettings,
    ModelSettings,
    SaveSettings,
    SoundSettings,
    WebhookSettings,
)


def heard(phrase: str = "hey nova", number: int = 1) -> Heard:
    return Heard(number, Detection(phrase, 12.48, 0.97, 0.5), "tiny", MICROPHONE, 1_795_637_388.5 + number)


def listener(model: Path, **settings: Any) -> Listener:
    return Listener(ListenSettings(models=(ModelSettings(path=str(model)),), **settings))


# Commands


def test_a_command_is_told_what_was_heard(tiny_model: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    write = f"env | grep ^WAKEWORD_ | sort > {told}.new; mv {told}.new {told}"
    one = listener(tiny_model, commands=(CommandSettings(shell=write, phrases=("hey nova",)),))
    part = actions.start_commands(one)
    one.hub.publish(heard("lights on"))
    one.hub.publish(heard(number=7))
    wait_until(told.exists)
    part.close()
    assert dict(line.split("=", 1) for line in told.read_text().splitlines()) == {
        "WAKEWORD_PHRASE": "hey nova", "WAKEWORD_TIME_S": "12.48", "WAKEWORD_SCORE": "0.97",
        "WAKEWORD_THRESHOLD": "0.5", "WAKEWORD_MODEL": "tiny", "WAKEWORD_STREAM": "microphone",
        "WAKEWORD_NUMBER": "7", "WAKEWORD_AT": "2026-11-25T20:09:55.500Z",
    }  # fmt: skip


def test_arguments_reach_no_shell(tmp_path: Path) -> None:
    wild = f"$(touch {tmp_path}/bad); `touch {tmp_path}/bad` > {tmp_path}/bad"
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    actions.run_command([sys.executable, "-c", code, f"{tmp_path}/good", wild], {}, 20, threading.Event())
    assert {path.name for path in tmp_path.iterdir()} == {"good"}
    assert (tmp_path / "good").read_text() == wild


def test_a_command_that_never_ends_is_killed_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    stubborn = f"trap '' TERM; sleep 600 & echo $! > {pid}; wait; sleep 600"
    with pytest.raises(WakewordError, match=r"'/bin/sh' had not ended after 0\.5 s and was killed"):
        actions.run_command(["/bin/sh", "-c", stubborn], {}, 0.5, threading.Event())
    child = Path("/proc") / pid.read_text().strip() / "stat"
    wait_until(lambda: not child.exists() or child.read_text().split()[2] == "Z", 5)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/no/such/program"], r"cannot run '/no/such/program' \(No such file or directory\)"),
        (["/bin/sh", "-c", "echo oh no >&2; exit 3"], r"'/bin/sh' ended with status 3 \(oh no\)"),
        (["a\0b"], r"cannot run 'a\\x00b'"),
    ],
)
def test_commands_that_fail(command: list[str], message: str) -> None:
    with pytest.raises(WakewordError, match=message):
        actions.run_command(command, {}, 10, threading.Event())


def test_closing_does_not_wait_for_a_command(tiny_model: Path) -> None:
    one = listener(tiny_model, commands=(CommandSettings(command=("sleep", "600"), timeout_s=600.0),))
    part = actions.start_commands(one)
    one.hub.publish(heard())
    time.sleep(0.3)
    part.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("command") and t.is_alive()]
    assert one.hub.problems == {"command 'sleep'": 1}


# Sounds


@pytest.mark.mic
def test_the_chime_is_heard(tmp_path: Path) -> None:
    """Played by paplay on a real sound server, recorded from its monitor."""
    program = f"""
import threading
from pathlib import Path
from wakeword.audio import write_wav
from wakeword.listen.actions import chime, run_command
write_wav("{tmp_path}/chime.wav", chime())
run_command(["paplay", "{tmp_path}/chime.wav"], {{}}, 10, threading.Event())
"""
    with VirtualMic(48_000, 1) as mic:
        recording = tmp_path / "heard.wav"
        record = subprocess.Popen(
            ["parec", "--file-format=wav", "-d", "vmic.monitor", recording], env=mic.env
        )
        wait_until(lambda: recording.exists() and recording.stat().st_size > 10_000)
        subprocess.run([sys.executable, "-c", program], env=mic.env, cwd=ROOT, check=True, timeout=300)
        time.sleep(0.3)
        record.terminate()
        record.wait(10)
    sound, rate = soundfile.read(recording)
    spectrum = np.abs(np.fft.rfft(sound if sound.ndim == 1 else sound[:, 0]))
    hz = np.fft.rfftfreq(len(sound), 1 / rate)
    assert min(abs(hz[spectrum.argmax()] - f) for f in (880.0, 1318.5)) < 15


def test_nothing_to_play_with(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WakewordError, match="nothing here plays sounds; install one of pw-play, paplay"):
        actions.start_sounds(listener(tiny_model, sounds=(SoundSettings(),)))


# Webhooks


class Receiver(ThreadingHTTPServer):
    """Answers each POST by the next of a list: a status, or a function of the handler."""

    daemon_threads = True

    def __init__(self, *answers: int | Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.answers, self.got = list(answers), list[dict[str, Any]]()
        self.headers: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/secret-path?a=b"


class _Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append(body | {"path": self.path})
        self.server.headers.append(dict(self.headers))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if callable(answer):
            answer(self)
        else:
            self.send_response(answer)
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No seconds between the tries."""
    monkeypatch.setattr(webhook, "LONGEST_WAIT_S", 0.01)


def deliver(receiver: Receiver, *numbers: int, **settings: Any) -> tuple[Hub, webhook.Webhook]:
    hub = Hub()
    hook = webhook.Webhook(hub, WebhookSettings(url=receiver.url, **settings))
    for number in numbers:
        hub.publish(heard(number=number))
    return hub, hook


def test_webhook(quick: None) -> None:
    receiver = Receiver()
    hub, hook = deliver(receiver, 1, headers={"X-Key": "7"})
    wait_until(lambda: receiver.got)
    hook.close()
    assert receiver.got == [heard().as_dict() | {"path": "/secret-path?a=b"}]
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert receiver.headers[0]["X-Key"] == "7"
    assert not hub.problems


def test_webhook_is_tried_again_after_500(quick: None, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(500, 503, 200, 500, 200)
    hub, hook = deliver(receiver, 1, 2)
    wait_until(lambda: len(receiver.got) == 5)
    hook.close()
    assert [body["number"] for body in receiver.got] == [1, 1, 1, 2, 2], "in order, each until it was taken"
    assert hub.problems == {hook.name: 3}
    where = f"webhook http://127.0.0.1:{receiver.server_address[1]}"
    assert caplog.messages == [
        f"{where}: answered 500", f"{where}: answered 503", f"{where}: works again",
        f"{where}: answered 500", f"{where}: works again",
    ]  # fmt: skip


def test_webhook_gives_up(quick: None) -> None:
    receiver = Receiver(*[500] * 3, 404, 301, 200)
    hub, hook = deliver(receiver, 1, 2, 3, 4, tries=3)
    wait_until(lambda: len(receiver.got) == 6)
    hook.close()
    assert [body["number"] for body in receiver.got] == [1, 1, 1, 2, 3, 4]
    assert hub.problems == {hook.name: 6}


def hang(answer: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def trickle(answer: BaseHTTPRequestHandler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
        time.sleep(0.1)
        answer.wfile.write(bytes([byte]))


@pytest.mark.parametrize("answer", [hang, trickle])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_webhook_that_hangs(quick: None, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(answer, 200)
    receiver.handle_error = lambda *_: None  # type: ignore[method-assign]
    hub, hook = deliver(receiver, 1, timeout_s=0.4)
    wait_until(lambda: len(receiver.got) == 2)
    hook.close()
    assert hub.problems == {hook.name: 1}
    assert caplog.messages[0] == f"{hook.name}: no answer within 0.4 s"


def test_webhook_to_no_one(quick: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hub = Hub()
    hook = webhook.Webhook(hub, WebhookSettings(url=f"http://127.0.0.1:{port}", tries=2))
    for number in range(100):
        hub.publish(heard(number=number))
    assert hub.subscriptions[0].dropped >= 30, "the queue is bounded"
    wait_until(lambda: hub.problems[hook.name] >= 3)
    hook.close()


@pytest.mark.parametrize("url", ["http://", "http://me:secret@host/", "http://host:x/"])
def test_addresses_that_cannot_be(url: str) -> None:
    with pytest.raises(UsageError, match="webhook: "):
        webhook.Webhook(Hub(), WebhookSettings(url=url))
    with pytest.raises(UsageError, match="must begin with http:// or https://"):
        WebhookSettings(url="file:///etc/passwd")


# Saved clips


def clip(number: int, seconds: float = 3.0) -> Clip:
    return Clip(heard(number=number), sounds(seconds, seed=number), 9.98)


def test_a_clip_is_saved(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "saved"
    save.Saver(folder, SaveSettings(folder=str(folder)))(clip(1))
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"20261125T200949.500Z-hey_nova-1.{end}" for end in ("json", "wav")]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    sound, rate = soundfile.read(folder / names[1], dtype="float32")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(sound, clip(1).samples, atol=1 / 32_768)
    about = json.loads((folder / names[0]).read_text())
    assert about["phrase"] == "hey nova"
    assert (about["fired_at_s"], about["seconds"], about["sample_rate"]) == (2.5, 3.0, 16_000)


def test_the_folder_never_holds_more_than_it_may(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x" * 2_000_000)
    saver = save.Saver(tmp_path, SaveSettings(folder=str(tmp_path), max_mb=1.0))
    for number in range(1, 31):
        saver(clip(number, 2.0))
        ours = [path for path in tmp_path.iterdir() if path.name != "mine.txt"]
        assert sum(path.stat().st_size for path in ours) <= 1_000_000
    assert len(ours) == 30, "15 clips of 64 KB"
    assert max(ours).name == "20261125T201018.500Z-hey_nova-30.wav"
    assert (tmp_path / "mine.txt").exists()


FULL = """
import resource, sys, time
import numpy as np
from wakeword.decision import Detection
from wakeword.listen import save
from wakeword.listen.events import Clip, Heard
from wakeword.listen.listener import Listener
from wakeword.listen.settings import ListenSettings, ModelSettings, SaveSettings

def clip(number):
    heard = Heard(number, Detection("hey nova", 12.48, 0.97, 0.5), "tiny", "microphone", 1e9)
    return Clip(heard, np.zeros(48_000, np.float32), 9.98)

settings = ListenSettings(models=(ModelSettings(path=sys.argv[1]),), save=SaveSettings(folder=sys.argv[2]))
one = Listener(settings)
part = save.start(one)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
for number in (1, 2, 3):
    one.hub.publish(clip(number))
while one.hub.problems["save"] < 3:
    time.sleep(0.02)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, resource.RLIM_INFINITY))
one.hub.publish(clip(4))
part.close()
"""


def test_full_disk(tiny_model: Path, tmp_path: Path) -> None:
    """No room for a file of 96 KB: said once, nothing half-written stays, and later clips are saved."""
    command = [sys.executable, "-c", FULL, str(tiny_model), str(tmp_path / "saved")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        [
            f"saving the sound around each detection in {tmp_path}/saved",
            f"save: cannot write to {tmp_path}/saved: File too large",
            "save: works again",
        ],
    )
    assert sorted(path.name.split("-")[-1] for path in (tmp_path / "saved").iterdir()) == ["4.json", "4.wav"]


def test_a_folder_that_cannot_be_made(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WakewordError, match=r"cannot make .*/file/saved"):
        save.start(listener(tiny_model, save=SaveSettings(folder=str(tmp_path / "file" / "saved"))))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every part that was closed has ended."""
    yield
    names = ("command", "sound", "save", "webhook")
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith(names)], 10)
