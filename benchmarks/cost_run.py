"""Running the systems of cost.py: an environment, a process for each, rounds in which they take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from cost_systems import resident_bytes
from environments import find_uv

from wakeword.audio import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / "out" / "bench-venv"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
WARM_UP_HOPS = 125
ROUND_HOPS = 100
HOUR_LIMIT_S = 100
"""Real time after which the hour of audio is cut short, where a model is too slow for it."""

Inputs = dict[str, Path]


def make_environment() -> Path:
    """The locked group `bench` with the package itself, apart from .venv; return its Python."""
    env = os.environ | {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)}
    options = ["--quiet", "--locked", "--no-default-groups", "--group", "bench"]
    try:
        subprocess.run([find_uv(), "sync", *options], cwd=ROOT, env=env, check=True)
    except FileNotFoundError:
        sys.exit("uv is not here; run scripts/test once, or install it: pip install uv")
    return ENVIRONMENT / "bin" / "python"


class Worker:
    """A running cost_systems.py."""

    def __init__(self, python: Path, system: str, model: Path) -> None:
        command = [str(python), str(ROOT / "benchmarks" / "cost_systems.py"), system, str(model)]
        start = time.perf_counter()
        self._process = subprocess.Popen(
            command, env=os.environ | ONE_THREAD, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            sys.exit(f"{system} does not start")
        self.start_s = time.perf_counter() - start

    def hear(self, audio: Path, first: int, hops: int) -> dict[str, Any]:
        """Let it hear these hops; return its answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"audio": str(audio), "first": first, "hops": hops}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@contextmanager
def worker(python: Path, system: str, model: Path) -> Iterator[Worker]:
    """Start a system, and end it."""
    running = Worker(python, system, model)
    try:
        yield running
    finally:
        running.close()


def start_times(python: Path, model: Path, systems: Sequence[str], n: int) -> dict[str, list[float]]:
    """Seconds from starting a process to its first hop, in rounds; files are in the page cache."""
    seconds = defaultdict(list)
    for _ in range(n):
        for system in systems:
            with worker(python, system, model) as started:
                seconds[system].append(started.start_s)
    return seconds


Answers = dict[tuple[str, str], list[dict[str, Any]]]


def interleaved(python: Path, model: Path, inputs: Inputs, systems: Sequence[str], rounds: int) -> Answers:
    """Let the systems hear every input in turns; the answers of each round by (system, input)."""
    answers: Answers = defaultdict(list)
    with ExitStack() as stack:
        running = {s: stack.enter_context(worker(python, s, model)) for s in systems}
        for name, audio in inputs.items():
            for system in systems:
                running[system].hear(audio, 0, WARM_UP_HOPS)
            for r in range(rounds):
                for system in (*systems[r % len(systems) :], *systems[: r % len(systems)]):
                    answer = running[system].hear(audio, WARM_UP_HOPS + r * ROUND_HOPS, ROUND_HOPS)
                    answers[system, name].append(answer)
            print(f"{name}: {rounds} rounds heard", file=sys.stderr)
    return answers


def after_an_hour(python: Path, model: Path, audio: Path) -> dict[str, float]:
    """Memory of `wakeword listen` itself on a pipe, after 10 s and after an hour of speech."""
    samples = np.load(audio).tobytes()
    second = 2 * SAMPLE_RATE
    command = [str(python), "-m", "wakeword", "listen", str(model), "--file", "-"]
    process = subprocess.Popen(
        command, env=os.environ | ONE_THREAD, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stdin
    heard, before, peak, began = 0, 0, 0, time.monotonic()
    while heard < 3600 * second and time.monotonic() - began < HOUR_LIMIT_S:
        at = heard % (len(samples) - second)
        process.stdin.write(samples[at : at + second])
        heard += second
        peak = max(peak, resident_bytes(process.pid))
        before = peak if heard <= 10 * second else before
    after = resident_bytes(process.pid)
    process.stdin.close()
    process.wait()
    return {"heard_s": heard / second, "before_bytes": before,
            "after_bytes": after, "peak_bytes": peak}  # fmt: skip
