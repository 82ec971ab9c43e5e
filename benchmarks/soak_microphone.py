"""A listener at a virtual microphone, in real time: what it hears after a fault."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from soak_listener import Clock

import wakeword
from wakeword.audio import SAMPLE_RATE, Samples

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))
from virtual_mic import VirtualMic

SURE = 0.97
"""Score of a phrase that is heard however its hops fall."""
WAIT_S = 2.5
"""After a phrase, until it counts as missed."""
BACK_S = 60.0
"""At most, until it hears again: on a busy machine PortAudio's own waits run out."""
Heard = list[str]


def choose(model: Path, phrases: Sequence[Samples], n: int) -> list[tuple[str, Samples]]:
    """Phrases that are heard for certain: at two places in a hop."""
    detector, chosen = wakeword.load(model), list[tuple[str, Samples]]()
    for clip in phrases:
        found = []
        for lead in (SAMPLE_RATE, SAMPLE_RATE + 613):
            detector.reset()
            sound = np.concatenate([np.zeros(2 * lead, np.float32), clip, np.zeros(SAMPLE_RATE, np.float32)])
            found.append([e.phrase for e in detector.feed(sound) if e.score >= SURE])
        if found[0] == found[1] and len(found[0]) == 1:
            chosen.append((found[0][0], clip))
        if len(chosen) == n:
            break
    return chosen


class AtMicrophone:
    """`wakeword listen` at a virtual microphone."""

    def __init__(self, model: Path, folder: Path, mic: VirtualMic, clock: Clock) -> None:
        config = folder / "listen.toml"
        config.write_text(
            f'[[models]]\npath = "{model}"\n[microphone]\ndevice = "pulse"\n[output]\nformat = "json"\n'
        )
        command = [sys.executable, "-m", "wakeword", "listen", "--config", str(config)]
        self.mic, self.clock, self.heard, self.said = mic, clock, Heard(), list[str]()
        env = mic.env | {key: clock.env[key] for key in ("LD_PRELOAD", "CLOCK_SHIFT")}
        self.process = subprocess.Popen(
            command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for job in (self._hear, self._listen):
            threading.Thread(target=job, daemon=True).start()
        self._until(lambda: any("listening to" in line for line in self.said))
        time.sleep(3.0)  # until a window is full

    def play(self, clip: Samples) -> Heard:
        """What it says of a phrase."""
        n = len(self.heard)
        self.mic.play(np.concatenate([np.zeros(SAMPLE_RATE // 2, np.float32), clip]))
        time.sleep(WAIT_S)
        return self.heard[n:]

    def unplug(self, rng: random.Random) -> None:
        """Gone and back, and heard again."""
        n = len(self.said)
        self.mic.unplug()
        time.sleep(rng.uniform(0.3, 4))
        self.mic.plug()
        self._until(lambda: any(line.endswith("again") for line in self.said[n:]))
        time.sleep(2.0)  # until a window is full

    def sleep(self, rng: random.Random) -> None:
        """Stopped and continued."""
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(rng.uniform(1, 5))
        os.kill(self.process.pid, signal.SIGCONT)
        time.sleep(6.0)  # until what waited is heard, or the microphone was opened anew

    def clock_jump(self, rng: random.Random) -> None:
        """The clock on the wall is set."""
        self.clock.set(rng.choice((-86_400, -3_600, 3_600, 86_400)))

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(20)

    def _hear(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.heard.append(json.loads(line)["phrase"])

    def _listen(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line.strip())

    def _until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BACK_S
        while not true():
            if time.monotonic() > deadline:
                raise SystemExit(f"the listener does not come back: {self.said[-3:]}")
            time.sleep(0.05)


def at_microphone(model: Path, phrases: Sequence[Samples], n: int, seed: int, folder: Path) -> dict[str, Any]:
    """Play phrases undisturbed, then the same after a fault each."""
    rng, clock, faults = random.Random(seed), Clock(folder), list[str]()
    chosen = choose(model, rng.sample(list(phrases), len(phrases)), n)
    with VirtualMic() as mic:
        listening = AtMicrophone(model, folder, mic, clock)
        try:
            quiet = [listening.play(clip) for _, clip in chosen]
            disturbed = []
            for i, (_, clip) in enumerate(chosen):
                kind = (listening.unplug, listening.sleep, listening.clock_jump)[i % 3]
                faults.append(kind.__name__)
                kind(rng)
                disturbed.append(listening.play(clip))
        finally:
            code = listening.end()
    return {"phrases": len(chosen), "quiet": quiet, "disturbed": disturbed, "faults": faults, "code": code}
