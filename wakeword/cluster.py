"""Work spread over a Dask cluster: the cores of many machines, or processes of this one.

A worker that dies costs time and no result: its tasks go to others. Workers read recordings and models
themselves, from the paths they have here. Dask sends functions and results by pickle, so a scheduler belongs
in a network where everybody is trusted, or behind TLS.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import wakeword
from wakeword.errors import DataError, UsageError, WakewordError
from wakeword.spread import Order, Result, Task, do

AHEAD = 4
"""Tasks given out per thread of a worker: it never waits, and results do not pile up."""
RETRIES = 2
"""After an error, which may be of a disk that was away for a moment."""
ANSWER_S, JOIN_S = 10, 30
"""How long the scheduler may take to answer, and the first worker to join."""
LOCAL = re.compile(r"local:([1-9]\d*)")


class Cluster:
    """The workers there are; see `open_cluster`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(
        self, make: Callable[[], Callable[[Task], Result]], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result]]:
        """As `Spreads` says; `make` is called in each thread of a worker."""
        from distributed import as_completed

        order = self._client.submit(_same, Order.of(make), pure=False)
        done, given, left = as_completed(with_results=True), dict[Any, int](), iter(enumerate(tasks))

        def give(n: int) -> None:
            for i, task in islice(left, n):
                future = self._client.submit(_do, order, task, pure=False, retries=RETRIES)
                given[future] = i
                done.add(future)

        try:
            with _explained():
                give(AHEAD * sum(self._client.nthreads().values()))
                for future, result in done:
                    yield given.pop(future), result
                    give(1)
        finally:
            with suppress(Exception):  # gone with the scheduler, if that is what ended it
                self._client.cancel([*given, order])


def _same(order: Any) -> Any:
    """As a task's result the order outlives the worker that has it: the scheduler makes it again."""
    return order


def _do(order: Order[Task, Result], task: Task) -> Result:
    try:
        return do(order, task)
    except WakewordError as err:
        raise type(err)(f"{err} ({_place()})") from err
    except OSError as err:
        raise DataError(f"{err} ({_place()})") from err


def _place() -> str:
    return f"a worker on {socket.gethostname()} said so: it needs every file where it is here"


@contextmanager
def open_cluster(where: str | None) -> Iterator[Cluster | None]:
    """The cluster at `where` while the block lasts; None gives None: the processes of this machine.

    `where` is the address of a Dask scheduler, such as tcp://host:8786, or local:N for N workers of this
    machine, started here.
    Raises WakewordError where nobody answers, or workers have another wakeword than this.
    """
    if where is None:
        yield None
        return
    local = LOCAL.fullmatch(where)
    if not local and not where.startswith(("tcp://", "tls://")):
        raise UsageError(f"--cluster {where}; give local:N, or a scheduler's address such as tcp://host:8786")
    with _client(where, int(local[1]) if local else 0) as client:
        _check_workers(client, where)
        yield Cluster(client)


@contextmanager
def _client(where: str, n_local: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    # Otherwise it tells of every connection.
    logging.getLogger("distributed").setLevel(logging.getLogger().getEffectiveLevel())
    # An order may hold an encoder, which is no mistake.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
        if n_local:
            with (
                LocalCluster(
                    n_workers=n_local, threads_per_worker=1, dashboard_address=None, memory_limit=0
                ) as here,
                Client(here) as client,
            ):
                yield client
            return
        try:
            client = Client(where, timeout=ANSWER_S)
        except (OSError, ValueError) as err:
            raise WakewordError(
                f"no Dask scheduler answers at {where}; start one with `dask scheduler`, and workers with "
                f"`dask worker {where} --nthreads 1 --nworkers auto`"
            ) from err
        with client:
            yield client


def _check_workers(client: Any, where: str) -> None:
    try:
        client.wait_for_workers(1, timeout=JOIN_S)
    except TimeoutError as err:
        raise WakewordError(
            f"the scheduler at {where} has no workers; start some with `dask worker {where}`"
        ) from err
    try:
        versions = client.run(_version)
    except ModuleNotFoundError as err:
        raise WakewordError(
            f"a worker of {where} has no {err.name}; install there what is installed here"
        ) from err
    if wrong := {address: v for address, v in versions.items() if v != wakeword.__version__}:
        address, version = next(iter(wrong.items()))
        raise WakewordError(f"worker {address} has wakeword {version}, not {wakeword.__version__} as here")


def _version() -> str:
    return wakeword.__version__


@contextmanager
def _explained() -> Iterator[None]:
    """What ends a run apart from a task's own error, in words."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as err:
        raise WakewordError(
            f"one task killed {err.allowed_failures + 1} workers after each other; short of memory? "
            "Start fewer workers on each machine"
        ) from err
    except (CancelledError, CommClosedError, TimeoutError) as err:
        raise WakewordError(f"the cluster is gone ({type(err).__name__}); start it and try again") from err
