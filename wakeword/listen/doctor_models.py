"""The doctor's look at a model: does it load, does it compute what it must, is it fast enough here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wakeword.audio import HOP_S, HOP_SAMPLES, Samples
from wakeword.detector import Models, load_models
from wakeword.errors import WakewordError
from wakeword.listen.doctor import Finding
from wakeword.manifest import Mode
from wakeword.scorer import HopScorer, Scorer, hops_to_fill

MEASURED_HOPS = 50
"""Hops (of 80 ms) each way of listening is timed over."""
SLOW = 0.5
"""Share of real time from which a model leaves too little room for anything else."""


def check_model(path: Path, mode: Mode | None = None) -> Iterator[Finding]:
    """Load a bundle, which checks its golden vectors, and time it."""
    name = f"model {path.name}"
    try:
        models = load_models(path, mode)
    except WakewordError as err:
        yield Finding(name, "fail", str(err), "copy the file again, train it anew, or upgrade wakeword")
        return
    parts = [part for part in ("student", "verifier") if getattr(models, part) is not None]
    phrases = ", ".join(models.manifest.phrases)
    yield Finding(name, "ok", f"{phrases}; golden vectors match ({', '.join(parts)})")
    yield judge_speed(name, models.mode, *time_models(models))


def time_models(models: Models) -> tuple[float, float]:
    """Milliseconds per hop when nothing is suspected, and when the verifier must be asked at every hop."""
    warm_up = hops_to_fill(models.manifest)
    idle = ms_per_hop(models.scorer(), warm_up)
    if models.verifier is None or models.student is None:
        return idle, idle
    return idle, ms_per_hop(Scorer(models.verifier), warm_up) + idle


def ms_per_hop(scorer: HopScorer, warm_up: int) -> float:
    """Median wall time of a hop of soft noise, in ms, once so many hops have filled the first window."""
    scorer.feed(_noise(warm_up))
    times = []
    for hop in np.split(_noise(MEASURED_HOPS), MEASURED_HOPS):
        begin = time.perf_counter()
        scorer.feed(hop)
        times.append(time.perf_counter() - begin)
    return 1000 * float(np.median(times))


def judge_speed(name: str, mode: Mode, idle_ms: float, worst_ms: float) -> Finding:
    """What the times of a hop mean on this computer."""
    share = worst_ms / (1000 * HOP_S)
    text = f"{mode}: {idle_ms:.2f} ms a hop of {1000 * HOP_S:.0f} ms"
    if worst_ms > idle_ms:
        text += f", {worst_ms:.2f} ms where all is suspicious"
    text += f"; real-time factor {share:.3f} at worst"
    if share >= 1:
        return Finding(name, "fail", text, "too slow: use --mode student, or a faster computer")
    if share >= SLOW:
        return Finding(name, "warn", text, "little room: use --mode cascade or student, stop other programs")
    return Finding(name, "ok", text)


def _noise(n_hops: int) -> Samples:
    rng = np.random.default_rng(1)
    return (0.003 * rng.standard_normal(n_hops * HOP_SAMPLES)).astype(np.float32)
