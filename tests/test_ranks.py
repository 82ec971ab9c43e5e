"""Training by two processes of torchrun (gloo): what one process learns, to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ddp_process import tune
from tiny import tiny_net

from wakeword.errors import UsageError
from wakeword.train.ranks import Ranks

HERE = Path(__file__).resolve().parent


def torchrun(*command: str, n: int = 2) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.run([*launch, *command], capture_output=True, text=True, env=environment, timeout=600)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two")
    run = torchrun(str(HERE / "ddp_process.py"), str(out))
    assert run.returncode == 0, run.stderr
    return out


@pytest.mark.parametrize("policy", ["head", "all"])
def test_two_learn_what_one_does(by_two: Path, tmp_path: Path, policy: str) -> None:
    """With dropout, uneven weights, and a last batch of one window."""
    found: list[dict[str, Any]] = [json.loads((by_two / f"{policy}-{r}.json").read_text()) for r in (0, 1)]
    assert [one["world"] for one in found] == [2, 2]
    assert found[0] == found[1], "all end with the same weights"
    net, history = tune(policy, tmp_path)
    np.testing.assert_allclose(found[0]["train"], history.train_loss, rtol=1e-5)
    np.testing.assert_allclose(found[0]["dev"], history.dev_loss, rtol=1e-5)
    start = tiny_net(slope=1.0).state_dict()
    for name, value in net.state_dict().items():
        got = torch.tensor(found[0]["state"][name])
        # A step of Adam's turns on the sign of a gradient that is nearly 0: some weights differ by more.
        torch.testing.assert_close(got, value, rtol=0, atol=2e-4)
        moved = (value - start[name]).norm()
        assert float((got - value).norm()) <= 0.02 * float(moved) + 1e-6, name


def test_parts_are_the_batches() -> None:
    order = np.random.default_rng(1).permutation(45)
    ranks = [Ranks(rank, 3) for rank in range(3)]
    parts = [r.part(order, 12) for r in ranks]
    for i, whole in enumerate(ranks[0].batches(order, 12)):
        weight_of = torch.from_numpy(1.0 + whole % 3)
        own = [part[4 * i : 4 * i + 4] for part in parts]
        assert sorted(np.concatenate(own)) == sorted(whole)
        weights = [torch.from_numpy(1.0 + rows % 3) for rows in own]
        mean = float((torch.from_numpy(whole) * weight_of).sum() / weight_of.sum())
        averaged = [
            r.share(w, weight_of) * float((w * torch.from_numpy(rows)).sum() / w.sum())
            for r, w, rows in zip(ranks, weights, own, strict=True)
        ]
        assert sum(averaged) / 3 == pytest.approx(mean)


def test_who_has_no_window_counts_nothing() -> None:
    rows = np.array([7])
    assert [Ranks(rank, 2).own(rows).tolist() for rank in (0, 1)] == [[7], [7]]
    shares = [Ranks(rank, 2).share(torch.ones(1), torch.ones(1)) for rank in (0, 1)]
    assert shares == [2.0, 0.0]


def test_uneven_batches_are_refused() -> None:
    with pytest.raises(UsageError, match="batches of 10 windows cannot be dealt evenly to 3 processes"):
        Ranks(0, 3).per_rank(10)
