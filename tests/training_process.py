"""`wakeword train` in processes that can be killed.

Each run is a session of its own, forked from a process that has imported everything and done nothing: where
torch has computed a gradient, as in a process that ran other tests, what is forked cannot compute another.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wakeword import recipe
from wakeword.audio import Samples
from wakeword.cli import main
from wakeword.files import written_whole
from wakeword.train.finetune import Kept
from wakeword.train.model import Lower, Upper, WakewordNet
from wakeword.train.policy import Policy

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])

Before = Callable[[], None]
"""Done in the process of the run before it begins; picklable."""


@dataclass(frozen=True)
class MemoryLimit:
    """So many bytes of address space over what the process has."""

    more: int

    def __call__(self) -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + self.more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


@dataclass(frozen=True)
class FileLimit:
    """No file may grow beyond so many bytes, as on a disk that is full."""

    size: int

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


class TrainingProcess:
    """One run of the command, begun at once."""

    def __init__(self, args: Sequence[str], folder: Path, before: Before | None = None) -> None:
        """Run `args`; `folder` takes what it says, and the graphs of `in_small`."""
        self._process = _context.Process(target=_run, args=(list(args), folder, before))
        self._log = folder / "log"
        self._log.write_text("")
        self._process.start()
        self.pid = int(self._process.pid or 0)

    @property
    def said(self) -> str:
        """Both its outputs so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str) -> None:
        """Until it says this; AssertionError where it ends before."""
        while text not in self.said:
            assert self._process.is_alive() or text in self.said, self.said
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill -9, the run alone: not what it started."""
        self._process.kill()
        self._process.join()

    def end(self) -> int:
        """Its exit code."""
        self._process.join()
        return int(self._process.exitcode or 0)

    def left_behind(self) -> list[int]:
        """Processes of its session that are still there."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return found


def _run(args: list[str], folder: Path, before: Before | None) -> None:
    multiprocessing.set_start_method(None, force=True)  # workers of the run begin as they do from a shell
    os.setsid()
    descriptor = os.open(folder / "log", os.O_WRONLY | os.O_APPEND)
    sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1)  # pytest has set its own
    if before is not None:
        before()
    with in_small(folder):
        code = main(args)
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def in_small(folder: Path) -> Iterator[None]:
    """One thread, one processor; the same weights are exported once, to `folder`; features are torch's."""
    threads, allowed = torch.get_num_threads(), os.sched_getaffinity(0)
    real = recipe.export_verifier, recipe.quick_kept
    torch.set_num_threads(1)
    # One processor: no pool of workers, which would import everything anew.
    os.sched_setaffinity(0, {max(allowed)})
    recipe.quick_kept = _kept_by_torch
    recipe.export_verifier = partial(_exported_once, folder, recipe.export_verifier)
    try:
        yield
    finally:
        recipe.export_verifier, recipe.quick_kept = real
        os.sched_setaffinity(0, allowed)
        torch.set_num_threads(threads)


def _kept_by_torch(net: WakewordNet, policy: Policy, example: Samples) -> Kept:
    n = policy.n_blocks
    return Kept(Lower(net, n), Upper(net, n)) if n else Kept(net)


def _exported_once(folder: Path, export: Callable[..., Any], net: WakewordNet, *args: Any) -> Any:
    weights = b"".join(t.detach().numpy().tobytes() for t in net.cpu().state_dict().values())
    kept = folder / f"{hashlib.sha256(weights).hexdigest()}.pickle"
    if not kept.exists():
        with written_whole(kept) as partly:
            partly.write_bytes(pickle.dumps(export(net, *args)))
    return pickle.loads(kept.read_bytes())
