"""One pass of the detector's scorer over a stream, kept, so that any threshold can be tried on it.

Streams are independent, so they go to a pool of processes, or to a cluster; each process keeps one scorer.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wakeword.audio import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE, SILENCE_DBFS, Samples, frame_levels_dbfs
from wakeword.bars import percent_bars
from wakeword.cluster import Cluster
from wakeword.errors import DataError, WakewordError
from wakeword.files import ZIP_FAULTS, load_arrays, written_whole
from wakeword.machine import end_with_parent, processors

MAX_BYTES = 1 << 30
"""Of a saved trace, unpacked."""


class ScoresAudio(Protocol):
    """What is traced: `wakeword.scorer.HopScorer`, or a stand-in with the same interface."""

    @property
    def phrases(self) -> tuple[str, ...]:
        """The K phrases."""

    def feed(self, samples: npt.NDArray[np.generic]) -> list[tuple[float, npt.NDArray[np.float32]]]:
        """(time in s, posteriors [K]) for each hop the samples complete."""

    def reset(self) -> None:
        """Forget all audio."""


class PlaysAudio(Protocol):
    """What is listened to; see `wakeword.evaluate.streams`."""

    @property
    def seconds(self) -> float:
        """Length."""

    def blocks(self) -> Iterator[Samples]:
        """All of it in blocks of any size."""


@dataclass(frozen=True)
class Trace:
    """What a scorer said of one stream. H hops, K phrases."""

    phrases: tuple[str, ...]
    times_s: npt.NDArray[np.float64]
    """End of each hop [H]."""
    scores: npt.NDArray[np.float32]
    """Posteriors, not smoothed [H, K]."""
    audible_hours: float
    """Hours of 10 ms frames at -70 dBFS or above: digital silence does not count."""
    seconds: float
    """Length of the stream."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as .npz, whole or not at all."""
        target = Path(path)
        try:
            with written_whole(target) as partial, partial.open("wb") as file:
                np.savez_compressed(
                    file,
                    phrases=np.asarray(self.phrases, dtype=str),
                    times_s=self.times_s,
                    scores=self.scores,
                    lengths=np.asarray([self.audible_hours, self.seconds]),
                )
        except OSError as err:
            raise DataError(f"cannot write {target}: {err}") from err


def load_trace(path: str | os.PathLike[str]) -> Trace:
    """Read what `Trace.save` wrote; DataError for anything else."""
    try:
        with load_arrays(path, MAX_BYTES) as a:
            audible_hours, seconds = (float(x) for x in a["lengths"])
            phrases = tuple(str(p) for p in a["phrases"])
            return Trace(phrases, a["times_s"], a["scores"], audible_hours, seconds)
    except ZIP_FAULTS as err:
        raise DataError(f"{path}: not a saved trace ({err})") from err


def trace(
    scorer: ScoresAudio, blocks: Iterable[Samples], heard: Callable[[float], None] = lambda _: None
) -> Trace:
    """Reset the scorer, feed it every sample in 80 ms hops, and keep its posteriors.

    Args:
        scorer: the listener's own scorer.
        blocks: the stream, in blocks of any size.
        heard: called after each hop with its length in seconds.
    """
    scorer.reset()
    rows, n_samples, audible_frames = list[tuple[float, npt.NDArray[np.float32]]](), 0, 0
    for hop in _hops(blocks):
        rows += scorer.feed(hop)
        n_samples += len(hop)
        audible_frames += int((frame_levels_dbfs(hop) >= SILENCE_DBFS).sum())
        heard(len(hop) / SAMPLE_RATE)
    phrases = tuple(scorer.phrases)
    scores = np.asarray([p for _, p in rows], dtype=np.float32).reshape(len(rows), len(phrases))
    times = np.asarray([t for t, _ in rows], dtype=np.float64)
    hours = audible_frames * FRAME_SAMPLES / SAMPLE_RATE / 3600
    return Trace(phrases, times, scores, hours, n_samples / SAMPLE_RATE)


def _hops(blocks: Iterable[Samples]) -> Iterator[Samples]:
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        joined = np.concatenate([rest, block])
        whole = len(joined) // HOP_SAMPLES * HOP_SAMPLES
        yield from joined[:whole].reshape(-1, HOP_SAMPLES)
        rest = joined[whole:]
    if len(rest):
        yield rest


class _CancelledError(Exception):
    """The parent gave up; nobody reads this."""


_worker: dict[str, Any] = {}
"""Of a worker process: its scorer factory, its scorer once made, and what it shares with the parent."""


def _start_worker(make_scorer: Callable[[], ScoresAudio], heard_s: Any, stop: Any) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it sets `stop`
    _worker.update(make_scorer=make_scorer, heard_s=heard_s, stop=stop)


def _trace_in_worker(stream: PlaysAudio) -> Trace:
    # Made here and not at start-up: an error then reaches the parent as this task's exception.
    if "scorer" not in _worker:
        _worker["scorer"] = _worker["make_scorer"]()

    def heard(seconds: float) -> None:
        with _worker["heard_s"].get_lock():
            _worker["heard_s"].value += seconds
        if _worker["stop"].is_set():
            raise _CancelledError

    return trace(_worker["scorer"], stream.blocks(), heard)


def trace_all(
    make_scorer: Callable[[], ScoresAudio],
    streams: Sequence[PlaysAudio],
    processes: int | None = None,
    label: str = "listening",
    progress: bool = True,
    cluster: Cluster | None = None,
) -> list[Trace]:
    """Trace many streams at once; the result has their order and does not depend on who traced them.

    Args:
        make_scorer: picklable, called once in each process.
        streams: picklable plans; the longest are begun first.
        processes: worker processes; None = one per processor. 1 stays in this process.
        label: what the progress bar says.
        progress: show the bar (on stderr).
        cluster: whose workers trace, instead of processes of this machine.
    """
    processes = min(processes or processors(), len(streams))
    total_s = sum(s.seconds for s in streams)
    with percent_bars(progress) as bar:
        task = bar.add_task(label, total=total_s)
        if cluster:
            return _trace_in_cluster(make_scorer, streams, cluster, lambda s: bar.advance(task, s))
        if processes <= 1:
            scorer = make_scorer()
            return [trace(scorer, s.blocks(), lambda s: bar.advance(task, s)) for s in streams]
        return _trace_in_pool(make_scorer, streams, processes, lambda s: bar.update(task, completed=s))


def _longest_first(streams: Sequence[PlaysAudio]) -> list[int]:
    return sorted(range(len(streams)), key=lambda i: -streams[i].seconds)


class _Listener:
    """A scorer, and what it says of each stream."""

    def __init__(self, make_scorer: Callable[[], ScoresAudio]) -> None:
        self._scorer = make_scorer()

    def __call__(self, stream: PlaysAudio) -> Trace:
        return trace(self._scorer, stream.blocks())


def _trace_in_cluster(
    make_scorer: Callable[[], ScoresAudio],
    streams: Sequence[PlaysAudio],
    cluster: Cluster,
    heard: Callable[[float], None],
) -> list[Trace]:
    traces, order = dict[int, Trace](), _longest_first(streams)
    for n, result in cluster.run(partial(_Listener, make_scorer), [streams[i] for i in order]):
        traces[order[n]] = result
        heard(result.seconds)
    return [traces[i] for i in range(len(streams))]


def _trace_in_pool(
    make_scorer: Callable[[], ScoresAudio],
    streams: Sequence[PlaysAudio],
    processes: int,
    heard: Callable[[float], None],
) -> list[Trace]:
    # Not `wakeword.spread.Processes`, which hears of whole tasks alone: a stream may last an hour, and within
    # it the bar moves and a stop is obeyed.
    # Spawned, not forked: onnxruntime and torch keep threads that do not survive a fork.
    context = multiprocessing.get_context("spawn")
    heard_s, stop = context.Value("d", 0.0), context.Event()
    with ProcessPoolExecutor(processes, context, _start_worker, (make_scorer, heard_s, stop)) as pool:
        try:
            tasks = {i: pool.submit(_trace_in_worker, streams[i]) for i in _longest_first(streams)}
            _wait(list(tasks.values()), lambda: heard(heard_s.value))
            return [tasks[i].result() for i in range(len(streams))]
        except BrokenProcessPool as err:
            raise WakewordError("a worker process was killed; short of memory? Try fewer processes") from err
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _wait(pending: list[Future[Trace]], tick: Callable[[], None]) -> None:
    """Until all are done; the first exception is raised at once."""
    left = set(pending)
    while left:
        done, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)
        tick()
        for future in done:
            future.result()
