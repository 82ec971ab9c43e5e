"""What this process may use of the machine, and how its workers end."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from local_servers import wait_until

from wakeword.machine import processors


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process")
def test_only_processors_that_are_left_count() -> None:
    code = (
        "import os; from wakeword.machine import processors;"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(processors())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
    assert 1 <= processors() <= (os.cpu_count() or 1)


POOL = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from wakeword.machine import end_with_parent

def work(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(1)

if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("spawn"), end_with_parent) as pool:
        list(pool.map(work, sys.argv[1:2] * 1_000))
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Without it both would wait for work for ever, each with a model in memory."""
    program, folder = tmp_path / "pool.py", tmp_path / "pids"
    program.write_text(POOL)
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, program, folder], cwd=Path(__file__).resolve().parents[1])
    wait_until(lambda: len(list(folder.iterdir())) == 2, 60)
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(Path("/proc", pid.name).exists() for pid in folder.iterdir()))


GIVES_BACK = """
from wakeword.machine import give_back_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

blocks = [bytearray(1_000) for _ in range(60_000)]
above = bytearray(1_000)  # the C library gives back by itself only what lies above all that is used
del blocks
held = resident()
give_back_memory()
print(held - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing")
def test_memory_that_is_free_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", GIVES_BACK], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30_000_000
