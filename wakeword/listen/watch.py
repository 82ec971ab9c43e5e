"""Reloads when a model or the config file changes, and on SIGHUP."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

from wakeword.errors import WakewordError
from wakeword.listen.listener import Listener
from wakeword.listen.parts import needs

SETTLE_MS = 300
"""A file that is being copied is left alone until it has not changed for this long."""
POLL_MS = 500
"""How soon a changed list of files is watched."""

log = logging.getLogger(__name__)


class Reloader:
    """Calls `listener.reload` in a thread of its own, when told to or when a file changes."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        # Not an Event: a signal that comes while its handler sets one waits for itself, and all else with it.
        self._asked: SimpleQueue[str] = SimpleQueue()
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._work, name="reload", daemon=True)]
        if listener.settings.reload.watch:
            self._threads.append(threading.Thread(target=self._watch, name="watch", daemon=True))
        for thread in self._threads:
            thread.start()

    def ask(self, why: str) -> None:
        """Reload soon; does not wait. Signal handlers may call it, in the middle of another call too."""
        self._asked.put(why)

    def close(self) -> None:
        """End; a reload that is under way is finished first."""
        self._closed.set()
        self._asked.put("")
        for thread in self._threads:
            thread.join(2.0)

    def _work(self) -> None:
        while True:
            why = self._asked.get()
            while not self._asked.empty():  # once for all who asked
                why = self._asked.get()
            if self._closed.is_set():
                return
            self._listener.reload(why)

    def _watch(self) -> None:
        try:
            with needs("watchfiles", "serve"):
                import watchfiles  # noqa: F401
        except WakewordError as err:
            log.info("files are not watched, SIGHUP reloads them: %s", err)
            return
        while not self._closed.is_set():
            for changed in self._changes(watched_files(self._listener)):
                self.ask(changed)

    def _changes(self, files: set[Path]) -> Iterator[str]:
        """Names of the files that change, until other files are to be watched, or `close`."""
        import watchfiles

        changes = watchfiles.watch(
            *{file.parent for file in files if file.parent.is_dir()},
            watch_filter=lambda _, path: Path(path) in files,
            stop_event=_Until(lambda: self._closed.is_set() or watched_files(self._listener) != files),
            step=SETTLE_MS,
            rust_timeout=POLL_MS,
            yield_on_timeout=True,
            recursive=False,
            raise_interrupt=False,
        )
        for found in changes:
            if found:
                yield ", ".join(sorted({Path(path).name for _, path in found}))


class _Until:
    """What watchfiles takes for an event: set once a condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def is_set(self) -> bool:
        """Asked by watchfiles about twice a second."""
        return self._condition()


def watched_files(listener: Listener) -> set[Path]:
    """The models and the config file, as absolute paths."""
    files = [*(listener.folder / Path(model.path).expanduser() for model in listener.settings.models)]
    return {file.absolute() for file in (*files, *([listener.config] if listener.config else []))}


@contextmanager
def reload_on_hangup(reloader: Reloader) -> Iterator[None]:
    """SIGHUP reloads while the block runs. Only in the main thread, and where there is such a signal."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def hangup(signum: int, frame: FrameType | None) -> None:
        reloader.ask("SIGHUP")

    before = signal.signal(signal.SIGHUP, hangup)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
