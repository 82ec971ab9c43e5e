"""Settings, reloads and parts of a listener."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from local_servers import wait_until
from tiny import sounds

import wakeword
from wakeword.audio import HOP_S, Samples
from wakeword.cli import main
from wakeword.config import build_config, load_config, tomllib
from wakeword.errors import UsageError, WakewordError
from wakeword.listen import listener, parts
from wakeword.listen.events import Heard, Reloaded
from wakeword.listen.listener import Listener
from wakeword.listen.parts import Parts, PartSpec
from wakeword.listen.settings import ListenSettings, ModelSettings, OutputSettings, WebhookSettings
from wakeword.listen.settings_text import EXAMPLES, config_text, field_docs
from wakeword.listen.sources import Source
from wakeword.listen.watch import Reloader

ROOT = Path(__file__).resolve().parents[1]
QUIET = OutputSettings(format="none")


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Path:
    """A config file beside a copy of the model."""
    (tmp_path / "tiny.wakeword").write_bytes(tiny_model.read_bytes())
    path = tmp_path / "listen.toml"
    path.write_text('# mine\n[[models]]\npath = "tiny.wakeword"  # small\n\n[output]\nformat = "none"\n')
    return path


@pytest.fixture
def one(config: Path) -> Listener:
    return Listener(load_config(config, ListenSettings), config)


class Blocks(Source):
    """So many hops of noise."""

    name = "blocks"

    def __init__(self, n: int) -> None:
        self._n = n

    def __iter__(self) -> Iterator[Samples]:
        yield from sounds(self._n * HOP_S, seed=1).reshape(self._n, -1)

    def close(self) -> None:
        pass


# Settings


def test_the_printed_config_is_in_the_repository_and_means_the_defaults() -> None:
    assert (ROOT / "configs" / "listen.toml").read_text() == config_text()
    assert load_config(ROOT / "configs" / "listen.toml", ListenSettings) == ListenSettings()


def test_its_examples_hold_when_they_are_taken() -> None:
    values = tomllib.loads(re.sub(r"^#: ", "", config_text(), flags=re.MULTILINE))
    settings = build_config(ListenSettings, values, "examples")
    assert settings.models[0].phrases["hey nova"].fa_per_hour == 0.1
    assert settings.webhooks[0].headers == {"Authorization": "Bearer ..."}
    assert {table for table, _ in EXAMPLES} <= set(values)


def test_every_key_is_documented() -> None:
    lines = config_text().splitlines()
    assert all(len(line) <= 130 for line in lines)
    for kind, docs in field_docs().items():
        for name in docs:
            left_out = name in ("models", "commands", "webhooks", "sounds", "shell")
            assert left_out or any(re.match(rf"(#: )?{name} += ?.*# \w", line) for line in lines), (
                kind,
                name,
            )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[microphne]", "unknown key 'microphne'; known are models, microphone"),
        ("[web]\nprot = 1", "web: unknown key 'prot'; known are enabled, host, port"),
        ('[web]\nport = "80"', "web: port takes int, got '80'"),
        ("[web]\nport = 0", "port is 0; it must be 1 to 65535"),
        ('[output]\nformat = "xml"', "output: format is 'xml'; choose one of lines, json, none"),
        ("[[commands]]", r"a command takes either command = \[...\] or shell"),
        ('[[commands]]\ncommand = "ls -l"', "commands 1: command takes a list of str, got 'ls -l'"),
        ('[[models]]\npath = "x"\nphrases = { a = 1 }', "models 1: phrases: a is a table, got 1"),
        ('[[models]]\npath = "x"\nthreshold = 0.5\nfa_per_hour = 1', "exclude each other"),
        ("models = 1", "models takes a list of tables, got 1"),
        ("= 1", "not valid TOML"),
    ],
)
def test_bad_settings(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "listen.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(tmp_path / "listen.toml", ListenSettings)


def test_command_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", "--config", str(config), "--json"]) == 2
    assert capsys.readouterr() == ("", f"wakeword: --config excludes '--json'; set it in {config}\n")
    assert main(["listen", "--print-config"]) == 0
    assert capsys.readouterr() == (config_text(), "")


# Reloads


def reloads(one: Listener, text: str, why: str = "test") -> bool:
    assert one.config
    one.config.write_text(text)
    return one.reload(why)


def test_a_good_config_is_taken_and_a_bad_one_refused(
    one: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    assert one.config
    text = one.config.read_text()
    events = one.hub.subscribe("test", Reloaded)
    assert reloads(one, text.replace("# small", "\nthreshold = 0.75"))
    assert one.engine.thresholds == {"hey nova": 0.75, "lights on": 0.75}
    for bad in (
        "[[models",
        text + "bogus = 1",
        text.replace("tiny.wakeword", "none.wakeword"),
        "models = []",
    ):
        before = one.settings, one.engine.loaded
        assert not reloads(one, bad)
        assert (one.settings, one.engine.loaded) == before
    assert reloads(one, text)
    events.close()
    assert [event.thresholds["hey nova"] for event in events] == [0.75, 0.5]
    refused = [line for line in caplog.messages if line.startswith("reload: refused, going on as before: ")]
    assert len(refused) == 4
    assert "not valid TOML" in refused[0] and "unknown key 'bogus'" in refused[1]
    assert "no such file: " in refused[2] and "no model to listen with" in refused[3]
    assert caplog.messages[-1] == "reload: taken"


def test_a_damaged_model_is_refused_in_midstream(one: Listener, config: Path) -> None:
    """Half a file, as while it is copied; then a good one. The events are those without any reload."""
    model, sound = config.parent / "tiny.wakeword", sounds(9.0, seed=5)
    good, stream = model.read_bytes(), one.engine.open("test")
    heard, results = [], []
    for i in range(0, len(sound), 4_000):
        if i % 48_000 == 24_000:
            model.write_bytes(good[: len(good) // 2])
            results.append(one.reload("half"))
        elif i % 48_000 == 32_000:
            model.write_bytes(good)
            results.append(one.reload("whole"))
        heard += stream.feed(sound[i : i + 4_000])
    assert results == [False, True] * 3
    found = [(event.detection.phrase, round(event.detection.time_s, 4)) for event in heard]
    assert found == [(e.phrase, round(e.time_s, 4)) for e in wakeword.load(model).feed(sound)] != []


def test_files_are_watched(one: Listener, config: Path) -> None:
    pytest.importorskip("watchfiles")
    events = one.hub.subscribe("test", Reloaded)
    reloader = Reloader(one)
    time.sleep(0.5)  # until the watch is in place
    try:
        for n, threshold in enumerate(["0.6", "0.7"], 1):
            partial = config.with_name("new")  # as editors do: a new file takes the place of the old
            partial.write_text(f'[[models]]\npath = "tiny.wakeword"\nthreshold = {threshold}\n')
            partial.replace(config)
            wait_until(lambda n=n: len(events) >= n)
        (config.parent / "other.txt").write_text("not ours")
        time.sleep(0.5)
        assert len(events) == 2
        (config.parent / "tiny.wakeword").touch()
        wait_until(lambda: len(events) == 3)
    finally:
        reloader.close()
    assert one.engine.thresholds["hey nova"] == 0.7
    events.close()
    assert [event.what for event in events] == ["listen.toml", "listen.toml", "tiny.wakeword"]


def test_sighup(config: Path) -> None:
    """The real program, with sound coming in through a pipe."""
    config.write_text(f"{config.read_text()}[reload]\nwatch = false\n")
    line = [sys.executable, "-m", "wakeword", "listen", "--config", str(config), "--file", "-"]
    process = subprocess.Popen(line, cwd=ROOT, stdin=-1, stdout=-1, stderr=-1, bufsize=0)
    stop = threading.Event()

    def feed() -> None:
        assert process.stdin
        while not stop.wait(0.02):
            process.stdin.write(bytes(640))

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        assert process.stderr
        lines = []
        while not lines:
            process.send_signal(0)
            time.sleep(0.2)
            if Path(f"/proc/{process.pid}/status").read_text().count("\n") and _catches_hangup(process.pid):
                config.write_text(
                    '[[models]]\npath = "tiny.wakeword"\nthreshold = 0.75\n[reload]\nwatch = false'
                )
                os.kill(process.pid, signal.SIGHUP)
                lines.append(process.stderr.readline().decode())
        assert lines == ["reloaded (SIGHUP): hey nova at 0.75, lights on at 0.75\n"]
    finally:
        stop.set()
        feeding.join()
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def _catches_hangup(pid: int) -> bool:
    """Until then a SIGHUP would end it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)  # type: ignore[index]
    return bool(caught >> (signal.SIGHUP - 1) & 1)


# Operating points


def test_a_point_is_written_back(one: Listener, config: Path) -> None:
    one.tune("hey nova", 2.0)
    assert one.engine.thresholds == {"hey nova": 0.25, "lights on": 0.5}
    text = config.read_text()
    assert text.startswith('# mine\n[[models]]\npath = "tiny.wakeword"  # small\n')
    assert load_config(config, ListenSettings).models[0].phrases["hey nova"].fa_per_hour == 2.0
    one.tune("hey nova", 0.5)
    one.tune("lights on", 2.0)
    assert one.engine.thresholds == {"hey nova": 0.5, "lights on": 0.25}
    assert sorted(path.name for path in config.parent.iterdir()) == ["listen.toml", "tiny.wakeword"]


def test_a_point_without_a_file(tiny_model: Path) -> None:
    one = Listener(ListenSettings(models=(ModelSettings(path=str(tiny_model)),)))
    one.tune("lights on", 2.0)
    assert one.engine.thresholds == {"hey nova": 0.5, "lights on": 0.25}


@pytest.mark.parametrize(
    ("phrase", "rate", "message"),
    [("x", 0.5, "no phrase 'x'; choose from hey nova, lights on"), ("hey nova", 7, "choose one of 0.5, 2")],
)
def test_points_there_are_not(one: Listener, phrase: str, rate: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        one.tune(phrase, rate)


# Parts


@dataclass
class Recorder:
    """A part that notes what happens to it."""

    notes: list[str]

    def close(self) -> None:
        self.notes.append("closed")


NOTES: list[str] = []


def start_recorder(listener: Listener) -> Recorder:
    NOTES.append(f"started {listener.settings.clip.pre_s:g}")
    if listener.settings.clip.pre_s == 9:
        raise WakewordError("port 80 is taken")
    return Recorder(NOTES)


def test_parts_follow_the_settings(
    one: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    NOTES.clear()
    monkeypatch.setattr(parts, "RETRY_S", (0.05,))
    clip = one.settings.clip
    spec = PartSpec(
        "recorder", f"{__name__}:start_recorder", lambda x: x.settings.clip.pre_s and x.settings.clip
    )
    running = Parts(one, (spec,))
    for pre_s in (1.0, 1.0, 2.0, 0.0, 3.0, 9.0):
        one.settings = replace(one.settings, clip=replace(clip, pre_s=pre_s))
        running.adapt()
    wait_until(lambda: NOTES.count("started 9") > 3)
    assert NOTES[:8] == [
        "started 1", "closed", "started 2", "closed", "started 3", "closed", "started 9", "started 9",
    ]  # fmt: skip
    one.settings = replace(one.settings, clip=replace(clip, pre_s=4.0))
    wait_until(lambda: NOTES[-1] == "started 4")
    running.close()
    assert NOTES[-1] == "closed"
    assert caplog.messages == ["recorder: cannot start: port 80 is taken", "recorder: started"]


def test_what_waiting_cannot_mend_ends_it_at_once(tiny_model: Path) -> None:
    settings = ListenSettings(models=(ModelSettings(path=str(tiny_model)),), output=QUIET)
    bad = replace(settings, webhooks=(WebhookSettings(url="http://me:secret@host"),))
    with pytest.raises(UsageError, match="webhook: url needs a host and no user name"):
        Listener(bad).run(None)


def test_a_missing_package_is_explained() -> None:
    with pytest.raises(WakewordError, match=r"this needs nothing; run: pip install 'wakeword\[serve\]'"):  # noqa: SIM117
        with parts.needs("nothing", "serve"):
            import nothing_like_it  # type: ignore[import-not-found]  # noqa: F401


def test_heard_names_its_stream(one: Listener) -> None:
    events = one.hub.subscribe("test", Heard)
    block: Samples = sounds(6.0, seed=3)
    one.engine.open("kitchen").feed(block)
    events.close()
    assert {event.stream for event in events} == {"kitchen"}


@pytest.mark.parametrize(("every_s", "times"), [(0.0, 8), (60.0, 1)])
def test_memory_is_given_back_while_it_listens(
    one: Listener, monkeypatch: pytest.MonkeyPatch, every_s: float, times: int
) -> None:
    given = list[int]()
    monkeypatch.setattr(listener, "GIVE_BACK_S", every_s)
    monkeypatch.setattr(listener, "give_back_memory", lambda: given.append(1))
    one.run(Blocks(8))
    assert len(given) == times


def test_memory_is_given_back_where_others_bring_the_sound(
    one: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "give_back_memory", one.stop)
    assert one.run(None) == 0.0
