"""A training that is killed, starved or given damaged files goes on, and ends with the same bytes."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, tiny_net
from tones import SETTINGS, train_order, write_recordings
from training_process import FileLimit, MemoryLimit, TrainingProcess, in_small

from wakeword import recipe
from wakeword.audio import Samples
from wakeword.cli import main
from wakeword.errors import TrainingError
from wakeword.recipe import enough_memory
from wakeword.train.features import MelOnly, cache_features, render_batches

TRAINING = f"""
tune = "top-1"{SETTINGS}[student]
channels = 16
dilations = [1, 2, 4]
[distill]
epochs = 10
batch = 32
learning_rate = 5e-3
background = 16
averaging = 0.8
"""
pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process"
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write_recordings(folder, speakers=8, backgrounds=4)
    (folder / "settings.toml").write_text(TRAINING)
    return folder


KILLED_AFTER = ("windows", "export")
"""Stages behind whose end the run is killed, within `AT_MOST_S`: in the next one, mostly."""
AT_MOST_S = 1.5


@pytest.fixture(scope="module")
def whole(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "m.wakeword"
    run = TrainingProcess(train_order(recordings, out), out.parent)
    assert run.end() == 0, run.said
    return out


def test_whatever_ends_it_the_bundle_is_the_same(recordings: Path, tmp_path: Path, whole: Path) -> None:
    """A full disk, then kill -9 again and again at moments drawn anew; each time it goes on."""
    out, seed = tmp_path / whole.name, random.randrange(10**6)
    rng, runs = random.Random(seed), list[TrainingProcess]()
    full = TrainingProcess(train_order(recordings, out), whole.parent, FileLimit(200_000))
    assert full.end() == 1
    assert re.fullmatch(
        r"wakeword: cannot keep features in \S+: .*File too large", full.said.splitlines()[-1]
    )
    for stage in KILLED_AFTER:
        runs.append(TrainingProcess(train_order(recordings, out, "--resume"), whole.parent))
        runs[-1].wait_for(f"{stage} done")
        time.sleep(rng.uniform(0, AT_MOST_S))
        runs[-1].kill()
        assert not out.exists(), f"seed {seed}: too late"
    last = TrainingProcess(train_order(recordings, out, "--resume"), whole.parent)
    assert last.end() == 0, f"seed {seed}: {last.said}"
    assert out.read_bytes() == whole.read_bytes(), f"seed {seed}"
    assert sorted(tmp_path.iterdir()) == [
        out.with_suffix(end) for end in (".checkpoint", ".report", ".wakeword")
    ]
    deadline = time.monotonic() + 20  # torch's workers look every five seconds whether they are alone
    while any(run.left_behind() for run in runs):
        assert time.monotonic() < deadline, "workers outlive a run that was killed"
        time.sleep(0.1)


def test_a_student_begins_the_same_whatever_was_drawn_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on after the fine-tuning has drawn nothing yet."""
    for name in ("make_lessons", "Background", "distil"):
        monkeypatch.setattr(recipe, name, lambda *args: None)
    net, begun = tiny_net(), []
    for drawn in (1, 2):
        torch.manual_seed(drawn)
        student = recipe._teach(net, None, None, None, CONFIG, tmp_path, "key", None, None)  # type: ignore
        begun.append([p.detach().clone() for p in student.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*begun, strict=True))


class Hisses:
    """Ninety-six windows; some may be told to do something in the worker that renders them."""

    def __init__(self, then: Callable[[int], None] = lambda i: None) -> None:
        self.then = then

    def __len__(self) -> int:
        return 96

    def render(self, i: int, epoch: int = 0) -> Samples:
        self.then(i)
        return np.random.default_rng(i).standard_normal(4_000).astype(np.float32) / 9


def features(path: Path, windows: Hisses | None = None) -> tuple[np.ndarray, list[int]]:
    told = list[int]()
    return cache_features(MelOnly(), windows or Hisses(), path, "key", told.append).copy(), told


def test_features_made_before_a_kill_are_kept(tmp_path: Path) -> None:
    path, parent = tmp_path / "train-mel.npy", os.fork()
    if not parent:
        cache_features(MelOnly(), Hisses(), path, "key", lambda n: n and os.kill(os.getpid(), signal.SIGKILL))
    os.waitpid(parent, 0)
    found, told = features(path)
    assert told == [32, 32, 32]  # the first 32 were there
    assert np.array_equal(found, features(tmp_path / "other.npy")[0])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-1_000]),
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["a bit", "cut", "garbage", "empty"],
)
def test_damaged_features_are_made_anew(
    damage: Callable[[Path], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "train-mel.npy"
    expected, _ = features(path)
    damage(path)
    found, told = features(path)
    assert np.array_equal(found, expected)
    assert told == [0, 32, 32, 32]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged; its features are made anew"
    ]


def test_a_worker_that_is_killed_is_explained(tmp_path: Path) -> None:
    """As the kernel does where memory is short."""

    def die(i: int) -> None:
        if i == 40:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(TrainingError, match="a worker process was killed; short of memory"):
        list(render_batches(Hisses(die), np.arange(96), 32, 0))
    assert features(tmp_path / "train-mel.npy")[1] == [0, 32, 32, 32]


def test_out_of_memory_is_one_line(recordings: Path, tmp_path: Path, whole: Path) -> None:
    """A real limit, and an allocation that does not fit: the targets of so many windows."""
    (tmp_path / "many.toml").write_text(TRAINING.replace("negatives = 160", "negatives = 400000000"))
    out = tmp_path / "m.wakeword"
    args = train_order(recordings, out, "--config", str(tmp_path / "many.toml"))
    run = TrainingProcess(args, tmp_path, MemoryLimit(1 << 30))
    assert run.end() == 1
    assert run.said.splitlines()[-1].startswith("wakeword: out of memory; lower negatives and versions")
    assert "Traceback" not in run.said


def test_out_of_memory_in_torch_and_numpy() -> None:
    for allocate in (torch.empty, np.empty):
        with pytest.raises(TrainingError, match="out of memory"), enough_memory():
            allocate(1 << 50)
    with pytest.raises(RuntimeError, match="must match"), enough_memory():
        torch.zeros(2) + torch.zeros(3)


def test_a_loss_that_is_no_number_is_one_line_and_keeps_the_features(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = TRAINING.replace("learning_rate = 5e-3", "learning_rate = 1e30\nwarmup = 0.0", 1)
    (tmp_path / "wild.toml").write_text(wild)
    out = tmp_path / "m.wakeword"
    with in_small(tmp_path):
        assert main(train_order(recordings, out, "--config", str(tmp_path / "wild.toml"))) == 1
    said = capsys.readouterr().err
    assert re.match(r"wakeword: the loss became (nan|inf) in epoch 1; lower", said.splitlines()[-1])
    assert (tmp_path / "m.work" / "train-mel.npy").is_file()
