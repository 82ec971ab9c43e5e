"""Progress of long work on stderr, a bar for each of its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bars:
    """Bars while the `with` block lasts; one stage follows another."""

    def __init__(self, visible: bool = True) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(
            *columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), disable=not visible
        )

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""
        self._task = self._bars.add_task(stage, total=total, note="")

    def track(self, done: int, total: int) -> None:
        """So many of so many steps are done."""
        self._bars.update(self._task, completed=done, total=total)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """So many steps are done."""
        self._bars.update(self._task, advance=steps, note=note)


def percent_bars(visible: bool = True) -> Progress:
    """Bars that show the share that is done and the time that is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not visible,
    )


@contextmanager
def progress_bar(label: str, total: float) -> Iterator[Callable[[float], None]]:
    """A bar of so many units, seconds mostly; gives what to call with each amount that is done."""
    with percent_bars() as bars:
        task = bars.add_task(label, total=total)
        try:
            yield lambda amount: bars.advance(task, amount)
        finally:  # what failed at once is explained by its error alone
            bars.update(task, visible=bars.tasks[0].completed > 0)
