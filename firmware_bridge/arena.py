"""How much memory TFLite Micro needs for a model, found by trying.

    python -m firmware_bridge.arena MODEL BYTES        0 where that many are enough

Each trial is a process of its own: with too small an arena the interpreter may crash instead of saying so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from wakeword.errors import ExportError

STEP = 16
"""Arenas are aligned to this."""
LEAST, MOST = 1 << 10, 1 << 18
TIMEOUT_S = 60.0


def arena_bytes(tflite: bytes) -> int:
    """The smallest arena [bytes] in which a model runs on this machine, to the next 16.

    Raises ExportError where the model does not run at all. A 32-bit device needs less for its tables, more
    for what its own kernels put aside.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(tflite)
        if not runs_in(path, MOST):
            raise ExportError("TFLite Micro cannot run this model, whatever the arena")
        low, high = LEAST // STEP, MOST // STEP
        while low < high:
            middle = (low + high) // 2
            if runs_in(path, middle * STEP):
                high = middle
            else:
                low = middle + 1
        return high * STEP


def runs_in(path: Path, size: int) -> bool:
    """Whether a model runs in an arena of so many bytes, tried in another process."""
    command = [sys.executable, "-m", "firmware_bridge.arena", str(path), str(size)]
    try:
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main() -> int:
    """Run the model once, on zeros."""
    from tflite_micro import runtime

    path, size = sys.argv[1:]
    interpreter = runtime.Interpreter.from_bytes(Path(path).read_bytes(), arena_size=int(size))
    import numpy as np

    shape = interpreter.get_input_details(0)["shape"]
    interpreter.set_input(np.zeros(shape, dtype=np.int8), 0)
    interpreter.invoke()
    return 0 if interpreter.get_output(0) is not None else 1


if __name__ == "__main__":
    sys.exit(main())
