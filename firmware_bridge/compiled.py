"""A network on this computer as compiled C: the bytes of `ReferenceNet`, in a fraction of its time."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firmware_bridge.decision import FirmwareRule
from firmware_bridge.emit_model import CModel, render_header, render_source
from firmware_bridge.judge import Posteriors, reference_posteriors
from firmware_bridge.network import Int8, QuantisedNet
from firmware_bridge.qemu import C_DIR, C_FLAGS, COMPILE_S, ToolchainError, run_tool

COMPILER = "gcc"
NO_RULE = FirmwareRule(128, 1)
"""The files of a model hold one; scores do not depend on it."""


class CompiledNet:
    """Scores of whole streams; each call begins anew, as `judge.Posteriors` do."""

    def __init__(self, net: QuantisedNet) -> None:
        """Compile it; ToolchainError where that fails."""
        work = Path(tempfile.mkdtemp(prefix="wakeword-net-"))
        model = CModel(net, NO_RULE, "for this computer")
        weakref.finalize(self, shutil.rmtree, work, ignore_errors=True)
        (work / "ww_model.h").write_text(render_header(model))
        (work / "ww_model.c").write_text(render_source(model))
        self._program = work / "scores"
        sources = (work / "ww_model.c", C_DIR / "ww_net.c", C_DIR / "proof" / "scores.c")
        command = [COMPILER, *C_FLAGS, "-O3", "-march=native", f"-I{C_DIR}", f"-I{work}"]
        run_tool([*command, *map(str, sources), "-o", str(self._program)], COMPILE_S)

    def __call__(self, features: Int8) -> npt.NDArray[np.uint8]:
        """Posteriors x 256. int8 [F, 40] -> uint8 [S]."""
        done = subprocess.run([str(self._program)], input=features.tobytes(), capture_output=True)
        if done.returncode:
            raise ToolchainError(f"the compiled network failed ({done.returncode})")
        return np.frombuffer(done.stdout, dtype=np.uint8)


def quick_posteriors(net: QuantisedNet) -> Posteriors:
    """Compiled where there is a C compiler, else numpy: the same bytes."""
    return CompiledNet(net) if shutil.which(COMPILER) else reference_posteriors(net)
