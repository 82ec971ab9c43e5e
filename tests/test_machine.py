"""What this process may use of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wakeword.machine import processors


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process")
def test_only_processors_that_are_left_count() -> None:
    code = (
        "import os; from wakeword.machine import processors;"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(processors())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
    assert 1 <= processors() <= (os.cpu_count() or 1)
