"""Hours of audio that one core gets through in an hour, in each step that grows with the recordings.

    python benchmarks/throughput.py MODEL CORPUS/index.csv [--budget 10]

Each step works for `--budget` seconds of processor time, in this process and on one thread, so that what else
runs on the machine changes little. Tasks of a Dask cluster that do nothing say what giving one out costs.
"""

from __future__ import annotations

import argparse
import operator
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from results import provenance, update_section, write_json
from subset import shortened

from export.quick_features import QuickFeatures
from wakeword.audio import SAMPLE_RATE, read_audio
from wakeword.bundle import load_bundle
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.dataset import load_background, load_clips
from wakeword.clips.drop import NOTHING
from wakeword.cluster import open_cluster
from wakeword.config import TrainConfig
from wakeword.evaluate.mining import Hearing, ears_of
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.run import bundle_scorer, speech_and_noise
from wakeword.evaluate.streams import MixedStream, NegativeStream
from wakeword.evaluate.trace import trace
from wakeword.manifest import Mode
from wakeword.train.features import BATCH, FromKept, KeptRows, MelOnly, block_of
from wakeword.train.material import Sounds
from wakeword.train.model import build_net, window_samples
from wakeword.train.windows import WindowSet, plan_windows

PIECE_S = 30.0
"""A negative stream here; short, so that a small budget sees several recordings."""
N_TASKS = 500

Work = Iterator[tuple[float, int]]
"""Of each piece: seconds of audio, bytes kept of it."""


@dataclass(frozen=True)
class Measured:
    """What one core did in some seconds."""

    audio_s: float
    processor_s: float
    kept_bytes: int

    @property
    def speed(self) -> float:
        """Hours of audio in an hour of one core."""
        return self.audio_s / self.processor_s

    @property
    def megabytes_per_hour(self) -> float:
        """Kept of an hour of audio."""
        return self.kept_bytes / self.audio_s * 3600 / 1e6


def measure(work: Work, budget_s: float) -> Measured:
    """Let it work until the budget of processor time is spent; the first piece, a warm-up, does not count."""
    next(work)
    begun, audio_s, kept = time.process_time(), 0.0, 0
    for seconds, size in work:
        audio_s, kept = audio_s + seconds, kept + size
        if time.process_time() - begun >= budget_s:
            break
    return Measured(audio_s, time.process_time() - begun, kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument(
        "--budget", type=float, default=10.0, help="seconds of processor time for each step [10]"
    )
    parser.add_argument("--tasks", type=int, default=N_TASKS, help=f"empty tasks for a cluster [{N_TASKS}]")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, work in steps(arguments.model, arguments.corpus).items():
        found[name] = measure(work(), arguments.budget)
        print(f"{name}: {found[name].speed:.0f} h in a core-hour", flush=True)
    task_ms = empty_tasks(arguments.tasks)
    body = section(found, task_ms, arguments.tasks)
    update_section("throughput", body)
    figures = {name: {"hours_per_core_hour": m.speed, **vars(m)} for name, m in found.items()}
    write_json("throughput", {"steps": figures, "task_ms": task_ms})
    print(body)


def steps(model: Path, corpus: Path) -> dict[str, Callable[[], Work]]:
    """What grows with the recordings."""
    training = partial(windows, model, corpus)
    return {
        "read recordings": partial(reading, corpus),
        "render windows, log-mel": partial(training, with_features=False),
        "verifier's features of windows": partial(training, with_features=True),
        "mine, cascade and student": partial(mining, model, corpus),
        "evaluate, cascade": partial(judging, model, corpus, "cascade"),
        "evaluate, verifier at every hop": partial(judging, model, corpus, "verifier"),
    }


def reading(corpus: Path) -> Work:
    """Decoding, as each worker does once with the background that windows are cut from."""
    for clip in endless(load_background([corpus])):
        samples = read_audio(clip.path)
        yield len(samples) / SAMPLE_RATE, 2 * len(samples)


@lru_cache(maxsize=1)
def planned_windows(model: Path, corpus: Path) -> WindowSet:
    clips = [c for c in load_clips(corpus, load_bundle(model).manifest.phrases) if c.split == "train"][:100]
    background = [c for c in load_background([corpus]) if c.split == "train"]
    sounds = Sounds.read(shortened(background, 0.3), NOTHING)
    n = window_samples(TrainConfig().window_s)
    augmenter = Augmenter(AugmentConfig(), sounds.noise, sounds.speech, n)
    return plan_windows(
        clips, sorted({c.label for c in clips}), augmenter, versions=8, negatives=1_600, seed=1
    )


def windows(model: Path, corpus: Path, with_features: bool) -> Work:
    """Training windows: rendered, or the features of rendered ones."""
    planned, mel_net = planned_windows(model, corpus), MelOnly()
    order, n = np.random.default_rng(1).permutation(len(planned)), len(planned.render(0))
    if not with_features:
        for at in endless(range(0, len(order), BATCH)):
            block = block_of(mel_net, planned, order[at : at + BATCH])
            yield len(block) * n / SAMPLE_RATE, block.nbytes
    net = build_net(load_bundle(model).manifest.phrases, TrainConfig())
    encoder = FromKept(QuickFeatures(net, planned.render(0)))
    mel = KeptRows(block_of(mel_net, planned, order[:BATCH]))
    while True:
        block = block_of(encoder, mel, np.arange(BATCH))
        yield BATCH * n / SAMPLE_RATE, block.nbytes


def mining(model: Path, corpus: Path) -> Work:
    """What `wakeword mine` does with a stretch."""
    hearing = Hearing(*ears_of(model))
    for stream in endless(build_negative_streams(load_background([corpus]), PIECE_S)):
        yield stream.seconds, 200 * len(hearing(stream))  # a moment takes about as much in a note


@lru_cache(maxsize=1)
def judged_streams(model: Path, corpus: Path) -> list[MixedStream | NegativeStream]:
    """Streams of an evaluation in turn: with phrases in noise, and without."""
    clips = [c for c in load_clips(corpus, load_bundle(model).manifest.phrases) if c.split == "test"]
    chosen = [clips[i] for i in np.random.default_rng(1).permutation(len(clips))[:100]]
    background = [c for c in load_background([corpus]) if c.split == "test"]
    mixed = build_mixed_streams(
        chosen, *speech_and_noise(background), MixConfig(snr_db=10, piece_s=PIECE_S), 1
    )
    negative = build_negative_streams(background, PIECE_S)
    return [stream for pair in zip(mixed, negative, strict=False) for stream in pair]


def judging(model: Path, corpus: Path, mode: Mode) -> Work:
    """What `wakeword evaluate` does with its streams."""
    scorer = bundle_scorer(model, mode)
    for stream in endless(judged_streams(model, corpus)):
        heard = trace(scorer, stream.blocks())
        yield stream.seconds, heard.scores.nbytes + heard.times_s.nbytes


def endless(items):  # type: ignore[no-untyped-def]
    while True:
        yield from items


def empty_tasks(n: int) -> float:
    """Milliseconds from the clock, per task, that giving out tasks and gathering results takes."""
    with open_cluster("local:1") as cluster:
        assert cluster is not None
        nothing = partial(getattr, operator, "index")
        list(cluster.run(nothing, range(10)))
        begun = time.monotonic()
        assert len(list(cluster.run(nothing, range(n)))) == n
        return (time.monotonic() - begun) / n * 1e3


def section(found: dict[str, Measured], task_ms: float, n_tasks: int) -> str:
    rows = "\n".join(
        f"| {name} | {m.speed:,.0f} | {10_000 / m.speed:,.0f} | {m.megabytes_per_hour:,.2f} |"
        for name, m in found.items()
    )
    return f"""## Throughput

{provenance(("numpy", "onnxruntime", "torch", "distributed"))}

What one core gets through in an hour (processor time, one thread), and what is kept of an hour of audio. A
window of training counts as the audio it is long; recordings are kept in memory, as int16. Giving out a task
of a Dask cluster and taking its result back costs {task_ms:.1f} ms ({n_tasks} empty tasks, one worker, by the
clock of a machine that had other work).

| step | hours in a core-hour | core-hours for 10,000 h | MB kept of an hour |
|---|--:|--:|--:|
{rows}
"""


if __name__ == "__main__":
    main()
