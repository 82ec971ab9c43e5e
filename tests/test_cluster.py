"""Work on a Dask cluster of two processes: the same results as here, though a worker is killed meanwhile."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cluster_work import DiesOn, Doubles, Fails, Loudness, Noise, Slow
from tiny import CONFIG, PHRASES, sounds, tiny_net

import wakeword.cluster
from wakeword.audio import write_wav
from wakeword.bundle import load_bundle
from wakeword.cli import main
from wakeword.clips.dataset import load_background
from wakeword.clips.drop import NOTHING
from wakeword.clips.gather import Recordings
from wakeword.cluster import Cluster, open_cluster
from wakeword.config import DataConfig
from wakeword.errors import AudioError, DataError, UsageError, WakewordError
from wakeword.evaluate import mining, trace
from wakeword.evaluate.mining import ears_of, hear
from wakeword.evaluate.trace import trace_all
from wakeword.spread import Processes, Spreads
from wakeword.train.features import FromKept, KeptRows, cache_encoded, cache_log_mel
from wakeword.train.spread_features import WindowPlan, spread_features

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with open_cluster("local:2") as found:
        assert found is not None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        yield found


def kill_one_at_work(cluster: Cluster) -> int:
    """SIGKILL to the process of a worker that has tasks, and wait until it is gone."""
    client = cluster._client
    busy = [worker for worker, tasks in client.processing().items() if tasks]
    pid = int(client.run(os.getpid, workers=busy[:1])[busy[0]])
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.01)
    return pid


def test_a_killed_worker_loses_no_trace(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [Noise(seed, 4.0 + seed % 3) for seed in range(16)]
    alone = trace_all(Loudness, streams, processes=1, progress=False)
    killed = list[int]()
    run = cluster.run

    def disturbed(make: Callable[..., object], tasks: list[object]) -> Iterator[tuple[int, object]]:
        for n, done in enumerate(run(make, tasks)):
            if n == 1:
                killed.append(kill_one_at_work(cluster))
            yield done

    monkeypatch.setattr(cluster, "run", disturbed)
    spread = trace_all(Slow, streams, progress=False, cluster=cluster)
    assert len(killed) == 1
    for a, b in zip(alone, spread, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.times_s, b.times_s)
        assert (a.seconds, a.audible_hours) == (b.seconds, b.audible_hours)


def test_mining_survives_a_kill(
    cluster: Cluster, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining, "STRETCH_S", 12.0)
    (tmp_path / "background").mkdir()
    for i in range(8):
        write_wav(tmp_path / "background" / f"{i}.wav", sounds(12, i))
    clips = load_background([tmp_path / "background"])
    manifest, ears = ears_of(tiny_model)
    killed = list[int]()

    def after_the_first(seconds: float) -> None:
        if seconds and not killed:
            killed.append(kill_one_at_work(cluster))

    alone = hear(manifest, ears, clips, tmp_path / "alone", "k")
    spread = hear(manifest, ears, clips, tmp_path / "spread", "k", progress=after_the_first, cluster=cluster)
    assert killed and len(alone) > 20
    assert spread == alone
    assert {p.name: p.read_bytes() for p in (tmp_path / "alone").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "spread").iterdir()
    }


@pytest.mark.parametrize("n", [0, 1, 100])
def test_each_task_once_and_its_maker_once_per_worker(cluster: Cluster, n: int) -> None:
    cluster._client.wait_for_workers(2)
    found = dict(cluster.run(Doubles, range(n)))
    assert [found[i][0] for i in range(n)] == [2 * i for i in range(n)]
    by_worker = {pid: sorted(t for _, p, t in found.values() if p == pid) for _, pid, _ in found.values()}
    assert all(tasks == list(range(1, len(tasks) + 1)) for tasks in by_worker.values())
    assert n < 100 or len(by_worker) == 2
    again = dict(cluster.run(Doubles, range(n)))
    assert all(tasks <= n for _, _, tasks in again.values()), "another run makes its own"


def test_errors_of_a_worker_say_where(cluster: Cluster) -> None:
    with pytest.raises(AudioError, match=rf"no such file: /x.wav \(a worker on {socket.gethostname()}"):
        list(cluster.run(Fails, [(AudioError, "no such file: /x.wav")]))
    with pytest.raises(DataError, match="stale file handle"):
        list(cluster.run(Fails, [(OSError, "stale file handle")]))
    with pytest.raises(ZeroDivisionError):  # a fault of ours stays one
        list(cluster.run(Fails, [(ZeroDivisionError, "")]))


def test_processes_do_the_same() -> None:
    for n in (1, 2):
        here: Spreads = Processes(n)
        assert {i: r[0] for i, r in here.run(Doubles, range(5))} == {i: 2 * i for i in range(5)}
        assert list(here.run(Doubles, [])) == []
    with pytest.raises(WakewordError, match="a worker process was killed"):
        list(Processes(2).run(DiesOn, [1, 2]))


def test_by_command(
    cluster: Cluster, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are given relative to a folder that the workers do not run in."""
    for phrase in load_bundle(tiny_model).manifest.phrases:
        for i in range(3):
            place = tmp_path / "clips" / phrase.replace(" ", "_") / f"speaker{i}"
            place.mkdir(parents=True)
            write_wav(place / "0.wav", sounds(0.8, 40 + i))
    (tmp_path / "background").mkdir()
    for i in range(3):
        write_wav(tmp_path / "background" / f"{i}.wav", sounds(10, 10 + i))
    monkeypatch.chdir(tmp_path)
    spread = ["--cluster", cluster._client.scheduler.address]
    mine = ["mine", str(tiny_model), "--background", "background", "--split", "all", "--clips", "5"]
    for name, how in (("here", ["--workers", "1"]), ("there", spread)):
        assert main([*mine, "--out", name, *how]) == 0
    lists = ((tmp_path / name / "index.csv").read_text().splitlines() for name in ("here", "there"))
    here, there = (csv.reader(lines) for lines in lists)
    rows = [[*row[:-2], Path(row[-2]).name, row[-1]] for row in here]
    assert rows == [[*row[:-2], Path(row[-2]).name, row[-1]] for row in there] and len(rows) > 4
    monkeypatch.setattr(trace, "_trace_in_pool", lambda *_: pytest.fail("heard here"))
    judge = [
        "evaluate",
        str(tiny_model),
        "--phrases",
        "clips",
        "--background",
        "background",
        "--split",
        "all",
    ]
    assert main([*judge, "--snr", "clean", "--out", "report", *spread]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["facts"]["clips"] == 6


def test_features_from_paths_are_the_same_bytes(cluster: Cluster, tmp_path: Path) -> None:
    for name, n, seconds in (("clips", 5, 0.8), ("background", 2, 12.0)):
        (tmp_path / name).mkdir()
        for i in range(n):
            write_wav(tmp_path / name / f"{i}.wav", sounds(seconds, 100 * n + i))
    clips = [replace(c, label=PHRASES[0]) for c in load_background([tmp_path / "clips"])]
    around = {"train": load_background([tmp_path / "background"])}
    recordings = Recordings(PHRASES, {"train": clips}, around, {"train": []}, frozenset())
    settings = replace(CONFIG, data=DataConfig(versions=4, negatives=50, broken=1))
    plan, net = WindowPlan("train", recordings, NOTHING, settings), tiny_net()
    windows = plan.build()
    here, there = tmp_path / "here" / "train", tmp_path / "there" / "train"
    mel = cache_log_mel(windows, here, "key", Told())
    cache_encoded(FromKept(net), KeptRows(mel), here, "key", Told())
    spread_features(cluster, plan.build, windows, net, there, "key", Told())
    assert len(windows) == 75
    for name in ("train.npy", "train-mel.npy", "train.json", "train-mel.json"):
        assert (here.parent / name).read_bytes() == (there.parent / name).read_bytes()


class Told:
    """Progress of a cache, which nobody is shown."""

    def start(self, stage: str, total: int) -> None:
        """Nothing is shown."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Nothing is shown."""


def test_wrong_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeword.cluster, "ANSWER_S", 1)
    for where in ("local:0", "local", "host:8786", "http://host:8786"):
        with pytest.raises(UsageError, match="give local:N, or a scheduler's address"), open_cluster(where):
            pass
    with open_cluster(None) as nobody:
        assert nobody is None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(WakewordError, match=f"no Dask scheduler answers at tcp://127.0.0.1:{port}; start one"),
        open_cluster(f"tcp://127.0.0.1:{port}"),
    ):
        pass


def test_without_the_extra(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "a.wav", sounds(3))
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    call = ["mine", str(tiny_model), "--background", str(tmp_path), "--split", "all", "--out", str(tmp_path)]
    assert main([*call, "--cluster", "local:2"]) == 1
    assert "pip install 'wakeword[cluster]'" in capsys.readouterr().err


def test_a_task_that_kills_its_workers_ends_the_run(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster._client.cluster.scheduler, "allowed_failures", 1)
    with pytest.raises(WakewordError, match=r"one task killed 2 workers after each other; short of memory"):
        list(cluster.run(DiesOn, [1]))
