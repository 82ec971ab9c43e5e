"""The machine that this runs on."""

from __future__ import annotations

import os


def processors() -> int:
    """Those that this process may use: a container or taskset can leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
