"""How much memory TFLite Micro needs for a model, found by trying.

    python -m firmware_bridge.arena MODEL        prints the smallest arena [bytes] in which it runs

Each trial is a forked process: with too small an arena the interpreter may crash instead of saying so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from wakeword.errors import ExportError

STEP = 16
"""Arenas are aligned to this."""
LEAST, MOST = 1 << 10, 1 << 18
TIMEOUT_S = 600.0
"""For all trials together; they take a second where nothing else runs."""


def arena_bytes(tflite: bytes) -> int | None:
    """The smallest arena [bytes] in which a model runs on this machine, to the next 16.

    None where there is no `tflite-micro` for this machine (it comes for Linux on x86-64). ExportError where
    the model does not run at all. A 32-bit device needs less for its tables, more for its kernels' scratch.
    """
    if find_spec("tflite_micro") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(tflite)
        command = [sys.executable, "-m", "firmware_bridge.arena", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as err:
            raise ExportError(f"TFLite Micro did not end within {TIMEOUT_S:g} s on this model") from err
    if done.returncode:
        raise ExportError(f"TFLite Micro cannot run this model, not even in {MOST >> 10} KB")
    return int(done.stdout.split()[-1])


def main() -> int:
    """Try arenas on the model named on the command line; 1 where none does."""
    from tflite_micro import runtime

    data = Path(sys.argv[1]).read_bytes()
    low, high = LEAST // STEP, MOST // STEP
    if not _runs_in(runtime, data, high * STEP):
        return 1
    while low < high:
        middle = (low + high) // 2
        if _runs_in(runtime, data, middle * STEP):
            high = middle
        else:
            low = middle + 1
    print(high * STEP)
    return 0


def _runs_in(runtime: Any, data: bytes, size: int) -> bool:
    """Whether a model runs once, on zeros, in an arena of so many bytes."""
    child = os.fork()
    if not child:
        try:
            interpreter = runtime.Interpreter.from_bytes(data, arena_size=size)
            shape = interpreter.get_input_details(0)["shape"]
            interpreter.set_input(np.zeros(shape, dtype=np.int8), 0)
            interpreter.invoke()
            os._exit(0)
        except Exception:  # whatever it says, the arena was too small or the model wrong
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


if __name__ == "__main__":
    sys.exit(main())
