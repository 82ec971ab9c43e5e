"""The machine that this runs on."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import wait


def processors() -> int:
    """Those that this process may use: a container or taskset can leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_back_memory() -> None:
    """Have the C library return what was freed; glibc alone keeps it for later. Takes under a millisecond."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def end_with_parent() -> None:
    """Let this worker process end when the one that started it does.

    Workers of a pool wait for work for ever where that one was killed: each holds an end of their queue.
    """
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
