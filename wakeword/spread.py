"""Work spread over processes of this machine; `wakeword.cluster` spreads it over many."""

from __future__ import annotations

import multiprocessing
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from wakeword.errors import WakewordError
from wakeword.machine import end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


class Spreads(Protocol):
    """Who does work: `Processes` or a `Cluster`."""

    def run(
        self, make: Callable[[], Callable[[Task], Result]], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result]]:
        """(index of a task, its result) as they are done, in no order that means anything.

        Args:
            make: picklable, called once by each worker; what it gives is called with each task.
            tasks: picklable; begun in order, so the longest should come first.

        The first error of a task ends it all.
        """


class Processes:
    """So many processes of this machine; a single one is this process itself."""

    def __init__(self, n: int) -> None:
        self.n = n

    def run(
        self, make: Callable[[], Callable[[Task], Result]], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result]]:
        """As `Spreads` says."""
        if self.n <= 1 or len(tasks) <= 1:
            yield from enumerate(map(make(), tasks) if tasks else ())
            return
        context = multiprocessing.get_context("spawn")  # onnxruntime's threads do not survive a fork
        order = Order.of(make)
        with ProcessPoolExecutor(min(self.n, len(tasks)), context, end_with_parent) as pool:
            try:
                jobs = {pool.submit(do, order, task): i for i, task in enumerate(tasks)}
                for job in as_completed(jobs):
                    yield jobs[job], job.result()
            except BrokenProcessPool as err:
                raise WakewordError(
                    "a worker process was killed; short of memory? Go on with --resume and fewer --workers"
                ) from err
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


@dataclass(frozen=True)
class Order(Generic[Task, Result]):
    """What all tasks of a run have in common."""

    token: str
    make: Callable[[], Callable[[Task], Result]]

    @classmethod
    def of(cls, make: Callable[[], Callable[[Task], Result]]) -> Order[Task, Result]:
        """An order unlike any other, though it may make what another made: files change between runs."""
        return cls(uuid.uuid4().hex, make)


_own = threading.local()
"""Of a worker's thread: what the order under way made. Scorers are not to be shared between threads."""


def do(order: Order[Task, Result], task: Task) -> Result:
    """One task, in a worker. What the order makes is made here: an error then is the task's own."""
    if getattr(_own, "token", "") != order.token:
        _own.token, _own.work = "", None  # the last one's memory first
        _own.work, _own.token = order.make(), order.token
    result: Result = _own.work(task)
    return result
