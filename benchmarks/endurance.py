"""A listener over a day of sound, over reloads, over a microphone that comes and goes, and how late it is.

    python benchmarks/endurance.py out/demo/demo.wakeword ../shared/corpus/index.csv [--hours 24]
        [--only day,reloads,replug,latency] [--dry]

The day is real speech, noise and phrases of the test recordings, fed as fast as it is heard. The microphone
is a real one for PortAudio, ALSA and PulseAudio, in real time; see `endurance_microphone.py`.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from endurance_microphone import latency, replug
from results import provenance, update_section, write_json

import wakeword
from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE, Samples, as_float, as_int16, read_audio
from wakeword.decision import Detection
from wakeword.listen.events import Heard, Pulse, Reloaded
from wakeword.listen.listener import TAIL_SAMPLES, Listener
from wakeword.listen.settings import (
    ListenSettings,
    ModelSettings,
    OutputSettings,
    ReloadSettings,
    SaveSettings,
)
from wakeword.listen.sources import Source
from wakeword.listen.watch import Reloader
from wakeword.manifest import Mode

BANK_S = 1800.0
"""Speech and noise kept in memory, from which the day is made."""
PHRASE_EVERY_S = 120.0
SEGMENT_S = 30.0
RELOADS = 10


class Day(Source):
    """Hours of sound, the same for the same seed: stretches of speech or noise, at times with a phrase."""

    name = "a day of recordings"

    def __init__(
        self,
        bank: list[Samples],
        phrases: list[Samples],
        seconds: float,
        seed: int = 1,
        phrase_every_s: float = PHRASE_EVERY_S,
    ) -> None:
        self._bank, self._phrases, self._seconds, self._seed = bank, phrases, seconds, seed
        self._share = SEGMENT_S / phrase_every_s
        self.begun_s = 0.0
        """How far it has been heard."""

    def __iter__(self) -> Iterator[Samples]:
        rng, n, left = np.random.default_rng(self._seed), 0, int(self._seconds * SAMPLE_RATE)
        while left > 0:
            sound = self._stretch(rng)[:left]
            left -= len(sound)
            for start in range(
                0, len(sound), 1_000
            ):  # not the hop's length, so that they do not fall together
                block = sound[start : start + 1_000]
                yield block
                n += len(block)
                self.begun_s = n / SAMPLE_RATE

    def close(self) -> None:
        """Nothing is open."""

    def _stretch(self, rng: np.random.Generator) -> Samples:
        source = self._bank[rng.integers(len(self._bank))]
        n = int(SEGMENT_S * SAMPLE_RATE)
        start = int(rng.integers(max(1, len(source) - n)))
        sound = source[start : start + n] * np.float32(10 ** (rng.uniform(-12, 3) / 20))
        if rng.random() < self._share:
            phrase = self._phrases[rng.integers(len(self._phrases))]
            sound = np.concatenate([sound, np.zeros(4_000, np.float32), phrase, np.zeros(8_000, np.float32)])
        return np.clip(sound, -1, 1).astype(np.float32)


def recordings(index: Path, bank_s: float) -> tuple[list[Samples], list[Samples]]:
    """So much speech and noise, and the phrases, of the test split."""
    with index.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    background = [row for row in rows if row["kind"] in ("speech", "noise")]
    rng = np.random.default_rng(0)
    bank: list[Samples] = []
    while sum(map(len, bank)) < bank_s * SAMPLE_RATE and background:
        row = background.pop(int(rng.integers(len(background))))
        bank.append(read_audio(index.parent / row["path"]))
    phrases = [read_audio(index.parent / row["path"]) for row in rows if row["kind"] == "phrase"]
    return bank, phrases


@dataclass
class Watched:
    """What a listener did over a stream."""

    heard: list[Detection] = field(default_factory=list)
    hops: int = 0
    lost: int = 0
    """Events that the watcher itself missed; must be 0."""
    resident_mb: list[tuple[float, float]] = field(default_factory=list)
    """(hours heard, resident memory)."""
    cpu_s: float = 0.0


def watch(listener: Listener, source: Day, every_s: float = 3600.0) -> Watched:
    """Run a listener over a stream, and keep all it says."""
    found = Watched()
    events = listener.hub.subscribe("benchmark", Heard, Pulse, size=1_000_000)

    def collect() -> None:
        due_s = every_s
        for event in events:
            if isinstance(event, Heard):
                found.heard.append(event.detection)
            elif isinstance(event, Pulse):
                found.hops += event.hops
                found.cpu_s += event.cpu_s
                if event.time_s >= due_s:
                    gc.collect()
                    found.resident_mb.append((round(event.time_s / 3600, 2), resident_mb()))
                    due_s += every_s

    thread = threading.Thread(target=collect)
    thread.start()
    listener.run(source)
    events.close()
    thread.join()
    found.lost = events.dropped
    return found


def resident_mb() -> float:
    """Memory of this process that lies in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2)


def single_pass(model: Path, source: Iterable[Samples], mode: Mode | None = None) -> list[Detection]:
    """The events of one detector that is fed with all of it."""
    detector = wakeword.load(model, mode=mode)
    events = [event for block in source for event in detector.feed(block)]
    return events + detector.feed(np.zeros(TAIL_SAMPLES, dtype=np.float32))


def same(one: list[Detection], other: list[Detection]) -> bool:
    """Equal phrases at equal times; the scores equal to 1e-4."""
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(
        a.phrase == b.phrase and abs(a.time_s - b.time_s) < 1e-6 and abs(a.score - b.score) < 1e-4
        for a, b in pairs
    )


def quiet(model: Path, **settings: Any) -> ListenSettings:
    return ListenSettings(
        models=(ModelSettings(path=str(model.absolute())),), output=OutputSettings(format="none"), **settings
    )


def day(model: Path, source: Day, hours: float) -> dict[str, Any]:
    """Memory, hops and events over the whole listening loop, clips being saved."""
    with tempfile.TemporaryDirectory() as folder:
        listener = Listener(quiet(model, save=SaveSettings(folder=folder, max_mb=5.0)))
        began_s = time.monotonic()
        found = watch(listener, source, every_s=min(3600.0, hours * 900))
        wall_s = time.monotonic() - began_s
        kept = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
    expected = single_pass(model, source)
    n_hops = int(hours * 3600 * SAMPLE_RATE + TAIL_SAMPLES) // HOP_SAMPLES
    after = [mb for _, mb in found.resident_mb]
    return {
        "hours": hours,
        "wall_s": round(wall_s),
        "times_real_time": round(hours * 3600 / wall_s),
        "hops": found.hops,
        "hops_expected": n_hops,
        "hops_missed": max(0, n_hops - found.hops - 2),  # up to two wait for the pulse that never came
        "events": len(found.heard),
        "equal_to_a_single_pass": same(found.heard, expected),
        "watcher_lost": found.lost,
        "resident_mb": found.resident_mb,
        "growth_after_first_mb": round(max(after) - after[0], 2) if after else None,
        "saved_mb": round(kept, 2),
    }


def reloads(model: Path, source: Day) -> dict[str, Any]:
    """The model's file replaced ten times by a watched copy of itself while the stream is heard."""
    with tempfile.TemporaryDirectory() as folder:
        copy, data = Path(folder) / "model.wakeword", model.read_bytes()
        copy.write_bytes(data)
        listener = Listener(quiet(copy, reload=ReloadSettings(watch=True)))
        taken = listener.hub.subscribe("reloads", Reloaded)
        reloader = Reloader(listener)
        slow = _Paced(source, speed=20.0)
        worker = threading.Thread(target=_replace_often, args=(copy, data, taken, slow), daemon=True)
        worker.start()
        found = watch(listener, slow)
        worker.join(60)
        reloader.close()
    return {
        "reloads": slow.reloads,
        "seconds": round(source.begun_s),
        "events": len(found.heard),
        "equal_to_a_single_pass": same(found.heard, single_pass(model, source)),
        "hops": found.hops,
        "hops_expected": int(source.begun_s * SAMPLE_RATE + TAIL_SAMPLES) // HOP_SAMPLES,
    }


class _Paced(Day):
    """A stream at so many times real time, that goes on until all reloads were made."""

    def __init__(self, day: Day, speed: float) -> None:
        self._day, self._speed = day, speed
        self.reloads = 0

    def __iter__(self) -> Iterator[Samples]:
        began_s = time.monotonic()
        for block in self._day:
            yield block
            if (ahead_s := self._day.begun_s / self._speed - (time.monotonic() - began_s)) > 0:
                time.sleep(ahead_s)


def _replace_often(copy: Path, data: bytes, taken: Any, stream: _Paced) -> None:
    time.sleep(1.0)  # until the watch is in place
    while stream.reloads < RELOADS:
        partial = copy.with_name("new")
        partial.write_bytes(data)
        partial.replace(copy)
        if taken.get(30) is None:
            return
        stream.reloads += 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--only", default="day,reloads,replug,latency")
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    args = parser.parse_args()
    chosen = args.only.split(",")
    bank, phrases = recordings(args.index, BANK_S if {"day", "reloads"} & set(chosen) else 0.0)
    # As int16 and back: what a sound card gives.
    bank = [as_float(as_int16(sound)) for sound in bank]
    runs = {
        "day": lambda: day(args.model, Day(bank, phrases, args.hours * 3600), args.hours),
        "reloads": lambda: reloads(args.model, Day(bank, phrases, 900.0, seed=2)),
        "replug": lambda: replug(args.model),
        "latency": lambda: latency(args.model, phrases),
    }
    for name in chosen:
        figures = runs[name]()
        lines = [f"{key.replace('_', ' ')}: {value}" for key, value in figures.items()]
        print(f"{name}\n  " + "\n  ".join(lines), flush=True)
        if args.dry:
            continue
        write_json(f"endurance-{name}", figures)
        body = "\n".join(lines)
        update_section(
            f"endurance-{name}", f"## Listener: {TITLES[name]}\n\n{provenance()}\n\n```\n{body}\n```"
        )


TITLES = {
    "day": "a day of sound, faster than real time",
    "reloads": "models replaced during a stream",
    "replug": "a microphone unplugged and plugged in again",
    "latency": "from the end of the phrase to every output",
}


if __name__ == "__main__":
    main()
