"""Hours of sound and a fault every few seconds: does a listener say what it says undisturbed?

    python benchmarks/soak.py MODEL ../shared/corpus/index.csv [--minutes 5] [--kills 6] [--dry]

A real `wakeword listen` hears test recordings through a pipe, as fast as it can. Meanwhile its clock is set,
it is stopped and continued, its processor is taken, the disk for its clips is filled, its
MQTT broker is restarted, its models and settings are reloaded in storms, satellites vanish. Then others are
killed (-9) while they write a clip, and started again; and one hears a virtual microphone that is unplugged,
in real time. What each said is compared with one detector that hears the same samples undisturbed.
Linux, as root (a small file system is mounted); needs gcc, mosquitto and PulseAudio.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from endurance import Day, recordings, single_pass
from results import provenance, update_section, write_json
from soak_faults import (
    Faults,
    Subscriber,
    during,
    half_files,
    murmur,
    saved_numbers,
    small_disk,
)
from soak_listener import Clock, Listening, State, Told, as_sent, configuration
from soak_microphone import at_microphone
from streams import free_port

from wakeword.audio import SAMPLE_RATE, Samples

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))
from broker import Broker

BANK_S = 600.0
PHRASE_EVERY_S = 40.0
SOUND_S = 1e6
"""More than any life lasts."""
MORE_MB, MORE_FILES = 10.0, 3
"""By which memory and open files may grow in the second half."""
LATE_MQTT_S = 12.0
"""After a broker's restart: a detection that waited for it may have become too old by design."""
KILL_S = 600.0
"""At most, until a life has written a clip."""
KILLER = """
import ctypes, os, signal, sys, time
folder, pid, skip = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
while not os.path.exists(folder):
    time.sleep(0.1)
libc = ctypes.CDLL(None)
changes = libc.inotify_init()
libc.inotify_add_watch(changes, folder.encode(), 0x100)  # IN_CREATE
while b".part" not in os.read(changes, 4096) or sum(n.endswith(".json") for n in os.listdir(folder)) < skip:
    pass
os.kill(pid, signal.SIGKILL)
"""
Events = list[tuple[str, float]]


@dataclass
class Findings:
    """Figures for the table, and what is wrong."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, what: str, value: object, good: bool = True) -> None:
        """A row; with `good` False also a fault."""
        self.rows.append((what, f"{value}" if good else f"**{value}**"))
        print(f"{what}: {value}", flush=True)
        if not good:
            self.wrong.append(f"{what}: {value}")


@dataclass(frozen=True)
class Setting:
    """What all parts of a soak share."""

    model: Path
    bank: list[Samples]
    phrases: list[Samples]
    seed: int
    folder: Path

    def sound(self, seed: int, every_s: float = PHRASE_EVERY_S) -> Day:
        """Sound without end, always the same for a seed."""
        return Day(self.bank, self.phrases, SOUND_S, seed, every_s)

    def piece(self, rng: random.Random) -> Samples:
        """Two phrases in a hiss, for a satellite."""
        parts = [part for _ in range(2) for part in (murmur(3.0, rng), rng.choice(self.phrases))]
        return np.concatenate([*parts, murmur(2.0, rng)])


def said(told: Iterable[Told], stream: str = "microphone") -> Events:
    """What was told of one stream."""
    return [(one.phrase, one.time_s) for one in told if stream in one.stream]


def undisturbed(setting: Setting, sound: Day, n_samples: int) -> Events:
    """What one detector says of the same samples."""
    events = single_pass(setting.model, as_sent(sound, n_samples))
    return [(event.phrase, round(event.time_s, 4)) for event in events]


def unlike(found: Events, expected: Events) -> tuple[Events, Events]:
    """(lost, added)."""
    return list((Counter(expected) - Counter(found)).elements()), list(
        (Counter(found) - Counter(expected)).elements()
    )


def long_life(setting: Setting, seconds: float, pause_s: float, findings: Findings) -> None:
    """One process, every fault but kills."""
    folder, rng = setting.folder / "long", random.Random(setting.seed)
    folder.mkdir()
    copy, config, clock = folder / "model.wakeword", folder / "listen.toml", Clock(folder)
    copy.write_bytes(setting.model.read_bytes())
    broker = Broker(folder, "allow_anonymous true", "persistence true", f"persistence_location {folder}/",
                    "max_queued_messages 100000")  # fmt: skip
    broker.start()
    with small_disk(folder / "disk") as disk:
        ports = {"mqtt": broker.port, "wyoming": free_port()}
        saved = disk / "saved"
        config.write_text(configuration(copy, saved, **ports), encoding="utf-8")
        subscriber, sound = Subscriber(broker.port), setting.sound(setting.seed)
        life = Listening(config, sound, clock)
        wait_for(lambda: bool(life.states) and life.sent > 10 * SAMPLE_RATE)
        faults = Faults(
            life,
            copy,
            config,
            clock,
            saved,
            broker,
            ports["wyoming"],
            setting.piece,
            rng,
        )
        before = time.monotonic()
        faults.run(seconds, pause_s)
        wall_s, code = time.monotonic() - before, life.finish()
        time.sleep(3.0)
        subscriber.close()
        broker.stop()
        judge_life(setting, sound, life, faults, subscriber, findings)
        findings.add("wall time, sound heard", f"{wall_s:.0f} s, {life.sent / SAMPLE_RATE / 3600:.2f} h")
        findings.add("exit code at the end", code, code == 0)
        bad, alone = half_files(saved)
        findings.add("files not whole", len(bad), not bad)
        findings.add("sounds without their description", alone, not alone)


def judge_life(
    setting: Setting, sound: Day, life: Listening, faults: Faults, subscriber: Subscriber, findings: Findings
) -> None:
    """Events, outputs, memory and open files."""
    counts = Counter(fault.kind for fault in faults.made)
    findings.add("faults", ", ".join(f"{n} × {kind}" for kind, n in counts.items()))
    expected = undisturbed(setting, sound, life.sent)
    lost, added = unlike(said(life.told), expected)
    findings.add("events of an undisturbed detector", len(expected), bool(expected))
    findings.add("events lost, added", f"{len(lost)}, {len(added)}", not lost and not added)
    wanted = [(cut.stream, event) for cut in faults.cuts for event in cut.expected]
    got = [(s, event) for s in {c.stream for c in faults.cuts} for event in said(life.told, s)]
    apart = len(
        list((Counter(wanted) - Counter(got)).elements()) + list((Counter(got) - Counter(wanted)).elements())
    )
    findings.add(
        "events to satellites that vanished later, of them lost or added",
        f"{len(wanted)}, {apart}",
        not apart,
    )
    kept, sent = saved_numbers(faults.saved), subscriber.numbers
    for name, numbers, kind, after_s in (
        ("clips", kept, "disk full", 2.0),
        ("MQTT messages", sent, "broker restarted", LATE_MQTT_S),
    ):
        missing = [one for one in life.told if one.number not in numbers]
        excused = [one for one in missing if during(kind, faults.made, one, after_s)]
        findings.add(
            f"{name} missing while {kind}, at other times",
            f"{len(excused)}, {len(missing) - len(excused)}",
            len(missing) == len(excused),
        )
    judge_growth(life.states, findings)


def judge_growth(states: Sequence[State], findings: Findings) -> None:
    """The last quarter beside the second one."""
    if len(states) < 60:
        return  # it has only just begun
    quarter = len(states) // 4
    early, late = states[quarter : 2 * quarter], states[3 * quarter :]
    for what, unit, most, of in (
        ("memory", " MB", MORE_MB, lambda s: s.rss_mb),
        ("open files", "", MORE_FILES, lambda s: s.files),
        ("threads", "", MORE_FILES, lambda s: s.threads),
    ):
        first, last = (float(np.median([of(one) for one in part])) for part in (early, late))
        findings.add(
            f"{what}, second quarter and last", f"{first:.0f}{unit}, {last:.0f}{unit}", last - first <= most
        )


def kills(setting: Setting, n: int, findings: Findings) -> None:
    """Killed while a clip is written, and started again in the same folder."""
    rng, partly, orphans, n_events, wrong = random.Random(setting.seed + 1), 0, 0, 0, list[str]()
    for i in range(n):
        folder = setting.folder / f"kill{i}"
        folder.mkdir()
        config, clock, saved = folder / "listen.toml", Clock(folder), folder / "saved"
        config.write_text(configuration(setting.model, saved), encoding="utf-8")
        sound = setting.sound(1000 + i, 35.0)
        life = Listening(config, sound, clock)
        killer = [sys.executable, "-c", KILLER, str(saved), str(life.pid), str(rng.randrange(3))]
        subprocess.run(killer, timeout=KILL_S, check=True)
        heard_s = life.after_death() / SAMPLE_RATE
        lost, added = unlike(said(life.told), undisturbed(setting, sound, life.sent))
        wrong += [f"life {i} lost {event}" for event in lost if event[1] < heard_s]
        wrong += [f"life {i} added {event}" for event in added]
        parts, n_events = list(saved.glob(".*.part")), n_events + len(life.told)
        partly += bool(parts)
        for part in parts:  # as if it had happened some minutes ago
            os.utime(part, (time.time() - 600,) * 2)
        again = Listening(config, setting.sound(2000 + i, 35.0), clock)
        wait_for(lambda again=again: again.sent > 120 * SAMPLE_RATE)
        wrong += [] if (code := again.finish()) == 0 else [f"life {i} again: exit code {code}"]
        lost, added = unlike(
            said(again.told), undisturbed(setting, setting.sound(2000 + i, 35.0), again.sent)
        )
        wrong += [
            f"life {i} again: {what} {events}"
            for what, events in (("lost", lost), ("added", added))
            if events
        ]
        bad, alone = half_files(saved)
        orphans, n_events = orphans + alone, n_events + len(again.told)
        wrong += [f"life {i}: not whole: {name}" for name in bad]
    findings.add("killed in the middle of writing, of them with a half-written file left", f"{n}, {partly}")
    findings.add("events of these lives and the ones after", n_events)
    findings.add("sounds left without their description", orphans)
    findings.add("lost, added or half after the restart", "; ".join(wrong) or 0, not wrong)


def microphone(setting: Setting, n: int, findings: Findings) -> None:
    """Real time: unplugged, stopped, its clock set."""
    folder = setting.folder / "microphone"
    folder.mkdir()
    found = at_microphone(setting.model, setting.phrases, n, setting.seed, folder)
    quiet, disturbed = (sum(map(len, found[name])) for name in ("quiet", "disturbed"))
    counts = ", ".join(f"{k} × {name}" for name, k in Counter(found["faults"]).items())
    findings.add("at a microphone: faults", counts)
    same = found["quiet"] == found["disturbed"] and quiet > 0
    findings.add(
        "at a microphone: phrases heard undisturbed, after a fault each", f"{quiet}, {disturbed}", same
    )
    findings.add("at a microphone: exit code", found["code"], found["code"] == 0)


def wait_for(true: Any, timeout_s: float = 180.0) -> None:
    """Until it holds; SystemExit where it never does."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit("the listener did not do what was expected in time")
        time.sleep(0.05)


def main() -> int:
    """Soak, print, write the section; 1 where anything was lost, half or grown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of the long life, by the clock on the wall"
    )
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    parser.add_argument("--phrases", type=int, default=12, help="at the microphone, 0 = leave that out")
    args = parser.parse_args()
    findings = Findings()
    bank, phrases = recordings(args.index, BANK_S if not args.dry else 120.0)
    with tempfile.TemporaryDirectory() as name:
        model = Path(shutil.copy(args.model, name))  # a training may write a new one meanwhile
        setting = Setting(model, bank, phrases, args.seed, Path(name))
        long_life(setting, 60 * args.minutes, args.pause, findings)
        kills(setting, args.kills, findings)
        if args.phrases:
            microphone(setting, args.phrases, findings)
    lines = ["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in findings.rows)]
    print("\n".join(["", *findings.wrong]))
    if not args.dry:
        write_json("soak", {"rows": findings.rows, "wrong": findings.wrong})
        update_section("soak", "\n".join([f"## A soak with faults\n\n{provenance()}\n", *lines]))
    return bool(findings.wrong)


if __name__ == "__main__":
    sys.exit(main())
