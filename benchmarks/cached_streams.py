"""Streams as log-mel, rendered once and kept, for benchmarks that let many networks hear the same."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from subset import shortened

from wakeword.audio import FRAME_SAMPLES, HOP_S, HOP_SAMPLES, SAMPLE_RATE, SILENCE_DBFS, frame_levels_dbfs
from wakeword.clips.dataset import Clip, load_background, load_clips
from wakeword.decision import DecisionConfig
from wakeword.evaluate.calibrate import LOWEST, fit_tail
from wakeword.evaluate.judge import misses_of
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.recordings import snr_of
from wakeword.evaluate.run import pick_clips, speech_and_noise
from wakeword.evaluate.score import HIT_AFTER_S, PhraseScores
from wakeword.evaluate.streams import MixedStream, NegativeStream
from wakeword.evaluate.trace import Trace
from wakeword.files import written_whole
from wakeword.machine import processors
from wakeword.mel import N_FFT, N_MELS, log_mel, n_frames

DEV, TEST = "dev background", "test background"
FA_PER_HOUR = 0.5
PIECE_FRAMES = 6_000
HOP_FRAMES = HOP_SAMPLES // FRAME_SAMPLES

Mel = npt.NDArray[np.float16]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Heard:
    """One stream as the networks hear it."""

    stream: MixedStream | NegativeStream
    mel: Mel
    """Every frame of it [T, 80], on disk."""
    audible_hours: float


Streams = dict[str, list[Heard]]
"""Condition ("clean", "10 dB", DEV, TEST) -> streams."""


def spread(
    function: Callable[..., Any], items: Sequence[Item], *arguments: Any
) -> Iterator[tuple[Item, Any]]:
    """(item, function(item, *arguments)) as they are done, in a process a core; one thread in each."""
    processes = min(processors(), len(items))
    if processes <= 1:
        for item in items:
            yield item, function(item, *arguments)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_one_thread) as pool:
        tasks = {pool.submit(function, item, *arguments): item for item in items}
        try:
            for task in as_completed(tasks):
                yield tasks[task], task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def plan_streams(
    corpus: Path,
    phrases: Sequence[str],
    snrs: Sequence[str],
    clips: int | None,
    dev_hours: float | None,
    test_hours: float | None,
) -> dict[str, list[MixedStream] | list[NegativeStream]]:
    """Mixed streams of the test split at each SNR, and background of dev and test; None = all there is."""
    of_test = [c for c in load_clips(corpus, phrases) if c.split == "test"]
    chosen = pick_clips(of_test, phrases, clips, seed=1)
    background = {s: [c for c in load_background([corpus]) if c.split == s] for s in ("dev", "test")}
    speech, noise = speech_and_noise(background["test"])
    found: dict[str, list[MixedStream] | list[NegativeStream]] = {
        DEV: _negative(background["dev"], dev_hours),
        TEST: _negative(background["test"], test_hours),
    }
    for text in snrs:
        snr = snr_of(text)
        found[condition_of(text)] = build_mixed_streams(chosen, speech, noise, MixConfig(snr_db=snr), seed=1)
    return found


def _negative(clips: Sequence[Clip], hours: float | None) -> list[NegativeStream]:
    return build_negative_streams(shortened(clips, hours))


def condition_of(snr: str) -> str:
    """ "clean" or "10 dB"."""
    return "clean" if snr_of(snr) is None else f"{snr_of(snr):g} dB"


def cache_streams(plan: dict[str, list[MixedStream] | list[NegativeStream]], folder: Path) -> Streams:
    """Log-mel of every stream, from `folder` where it is there; `folder` belongs to this plan alone."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(stream, _path(folder, c, i)) for c, part in plan.items() for i, stream in enumerate(part)]
    missing = [job for job in jobs if not job[1].with_suffix(".json").exists()]
    for n, _ in enumerate(spread(_render, missing), 1):
        print(f"streams: {n} of {len(missing)}", flush=True)
    return {
        c: [_load(stream, _path(folder, c, i)) for i, stream in enumerate(part)] for c, part in plan.items()
    }


def _path(folder: Path, condition: str, i: int) -> Path:
    return folder / f"{condition.replace(' ', '-')}-{i}.npy"


def _render(job: tuple[MixedStream | NegativeStream, Path]) -> None:
    stream, path = job
    samples = np.concatenate(list(stream.blocks()))
    store = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float16, shape=(n_frames(len(samples)), N_MELS)
    )
    for at in range(0, len(store), PIECE_FRAMES):
        end = min(at + PIECE_FRAMES, len(store))
        store[at:end] = log_mel(samples[at * FRAME_SAMPLES : (end - 1) * FRAME_SAMPLES + N_FFT]).T
    store.flush()
    audible = int((frame_levels_dbfs(samples) >= SILENCE_DBFS).sum()) * FRAME_SAMPLES / SAMPLE_RATE / 3600
    write_cell(path.with_suffix(".json"), {"audible_hours": audible})


def _load(stream: MixedStream | NegativeStream, path: Path) -> Heard:
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Heard(stream, np.load(path, mmap_mode="r"), float(facts["audible_hours"]))


def write_cell(path: Path, figures: dict[str, Any]) -> None:
    """Keep what is done, so that an interrupted run goes on with the rest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(json.dumps(figures) + "\n", encoding="utf-8")


def frames_at(hop: int) -> int:
    """Frames that are complete at the end of a hop, counted from 1."""
    return n_frames(hop * HOP_SAMPLES)


def hops_asked(heard: Heard, window: int, stride: int) -> list[int]:
    """Hops at which a network that hears windows of so many frames is asked.

    Every `stride`th; in a mixed stream only where an event would be a hit, as misses alone are counted there.
    """
    first = next(h for h in range(1, 10_000) if frames_at(h) >= window)
    last = int(heard.stream.seconds / HOP_S)
    hops = [h for h in range(stride, last + 1, stride) if h >= first]
    if isinstance(heard.stream, NegativeStream):
        return hops
    spans = [(s.start_s, s.end_s + HIT_AFTER_S) for s in heard.stream.spoken]
    return [h for h in hops if any(start <= h * HOP_S <= end for start, end in spans)]


def trace_of(
    heard: Heard, hops: Iterable[int], scores: npt.NDArray[np.float32], phrases: Sequence[str]
) -> Trace:
    """What was said at these hops [H, K], as a trace."""
    times = np.asarray(list(hops), dtype=np.float64) * HOP_S
    return Trace(tuple(phrases), times, scores, heard.audible_hours, heard.stream.seconds)


def judge(
    streams: Streams, traces: dict[str, list[Trace]], phrases: Sequence[str], config: DecisionConfig
) -> dict[str, Any]:
    """Misses on test at the threshold for 0.5 FA/h that dev sets, as plain numbers.

    The threshold is the tail's most likely one. A bundle's is the tail's upper bound, which lies the further
    off the thicker the tail: safe for a listener, but it would compare tails and not networks.

    {"misses": condition -> phrase -> [missed, spoken], "false_accepts": phrase -> [count, hours]}.
    """
    misses: dict[str, dict[str, list[int]]] = {}
    accepts: dict[str, list[float]] = {}
    for phrase in phrases:
        dev = PhraseScores(phrase, config, [], traces[DEV])
        threshold = max(LOWEST, fit_tail(dev).threshold(FA_PER_HOUR))
        for condition in (c for c in streams if c not in (DEV, TEST)):
            pairs = zip(streams[condition], traces[condition], strict=True)
            mixed = [(t, h.stream.spoken) for h, t in pairs if isinstance(h.stream, MixedStream)]
            scores = PhraseScores(phrase, config, mixed, traces.get(TEST, []))
            found = misses_of(scores, scores.matches(threshold))
            misses.setdefault(condition, {})[phrase] = [found.missed, found.spoken]
            if TEST in traces:
                accepts[phrase] = [scores.false_accepts(threshold), scores.hours]
    return {"misses": misses, "false_accepts": accepts}


def mean_miss(cell: dict[str, Any], condition: str) -> float:
    """Mean over the phrases."""
    return float(np.mean([missed / spoken for missed, spoken in cell["misses"][condition].values()]))
