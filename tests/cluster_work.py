"""Work for test_cluster's workers. Light: each new process imports this."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wakeword.audio import HOP_S, HOP_SAMPLES, SAMPLE_RATE, Samples


class Loudness:
    """A scorer whose posterior is the hop's mean magnitude; it takes its time where `pause_s` says so."""

    phrases = ("loud",)
    pause_s = 0.0

    def reset(self) -> None:
        self.hops = 0

    def feed(self, samples: Samples) -> list[tuple[float, np.ndarray]]:
        time.sleep(self.pause_s)
        if len(samples) < HOP_SAMPLES:
            return []
        self.hops += 1
        return [(self.hops * HOP_S, np.asarray([np.abs(samples).mean()], dtype=np.float32))]


class Slow(Loudness):
    """So that a kill meets work under way."""

    pause_s = 0.002


@dataclass(frozen=True)
class Noise:
    seed: int
    seconds: float

    def blocks(self) -> Iterator[Samples]:
        rng = np.random.default_rng(self.seed)
        for _ in range(round(self.seconds * 10)):
            yield rng.uniform(-1, 1, SAMPLE_RATE // 10).astype(np.float32)


class Doubles:
    """Work that says who did it, and the how manyth it was of its maker's."""

    def __init__(self) -> None:
        self.tasks = 0

    def __call__(self, x: int) -> tuple[int, int, int]:
        self.tasks += 1
        time.sleep(0.005)
        return 2 * x, os.getpid(), self.tasks


class Fails:
    """Work that ends in the error it is given."""

    def __call__(self, task: tuple[type[Exception], str]) -> None:
        raise task[0](task[1])


class DiesOn:
    """Work that ends its process."""

    def __call__(self, _: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
