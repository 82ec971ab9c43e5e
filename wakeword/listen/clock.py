"""How much time has passed, whatever is done to the clock on the wall."""

from __future__ import annotations

import time


def elapsed_s() -> float:
    """Seconds since some moment: nobody sets it, and on Linux it goes on while the computer sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
