"""Running the C library on this computer: compiled once for each network, compared slice by slice."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from firmware_bridge.decision import FirmwareDecision, FirmwareRule
from firmware_bridge.emit_model import CModel, render_header, render_source
from firmware_bridge.micro import micro_features
from firmware_bridge.proof_reference import RECORD_BYTES
from firmware_bridge.qemu import C_DIR, C_FLAGS, run_tool
from firmware_bridge.reference import ReferenceNet

SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Trace:
    """What came of each slice [F]."""

    features: npt.NDArray[np.int8]
    scores: npt.NDArray[np.uint8]
    """Of the steps [S]."""
    events: npt.NDArray[np.int64]
    """Slices, counted from 0."""


def expected(model: CModel, pcm: Pcm) -> Trace:
    """By numpy and `pymicro-features`."""
    features = micro_features(pcm)
    scores = ReferenceNet(model.net).feed(features)
    decision, stride = FirmwareDecision(model.rule), model.net.stride
    fired = [
        i
        for i in range(len(features))
        if decision.slice(int(scores[i // stride]) if i % stride == stride - 1 else None)
    ]
    return Trace(features, scores, np.array(fired, dtype=np.int64))


def compile_on_host(folder: Path, main: Path, *, model: CModel | None = None, port: bool = True) -> Path:
    """A program of the library on this computer, with sanitizers; `main` brings the main function."""
    proof = C_DIR / "proof"
    includes = [f"-I{C_DIR}", f"-I{folder}", f"-I{proof}"]
    sources = [*library_objects(), main, *([proof / "port_host.c"] if port else [])]
    if model is not None:
        (folder / "ww_model.h").write_text(render_header(model))
        (folder / "ww_model.c").write_text(render_source(model))
        sources.append(folder / "ww_model.c")
    program = folder / main.stem
    run_tool(["gcc", *C_FLAGS, *SANITIZE, *includes, *map(str, sources), "-o", str(program)], 300)
    return program


@cache
def library_objects() -> tuple[Path, ...]:
    """The library, compiled once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="ww_objects"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run_tool(["gcc", *C_FLAGS, *SANITIZE, "-c", *map(str, sorted(C_DIR.glob("ww*.c")))], 300, folder)
    return tuple(sorted(folder.glob("*.o")))


def run_trace(program: Path, pcm: Pcm) -> Trace:
    """What the library makes of some sound."""
    pcm.tofile(program.parent / "input.s16")
    run_tool([str(program)], 300, program.parent)
    records = np.fromfile(program.parent / "output.bin", dtype=np.uint8).reshape(-1, RECORD_BYTES)
    scores = records[records[:, 40] == 1, 41]
    return Trace(records[:, :40].view(np.int8), scores, np.flatnonzero(records[:, 42]))


def random_pcm(rng: np.random.Generator, seconds: float) -> Pcm:
    """Noise of every level, clipped where it is loud."""
    n_slices = int(100 * seconds)
    level = np.exp(rng.normal(5, 3, n_slices)).repeat(160)
    return np.clip(rng.normal(0, 1, n_slices * 160) * level, -32768, 32767).astype(np.int16)


def rule_that_fires(scores: npt.NDArray[np.uint8]) -> FirmwareRule:
    """A rule that these scores satisfy now and then."""
    return FirmwareRule(int(np.clip(np.percentile(scores, 60), 1, 254)), 4)


def assert_same(got: Trace, want: Trace) -> None:
    np.testing.assert_array_equal(got.features, want.features)
    np.testing.assert_array_equal(got.scores, want.scores)
    np.testing.assert_array_equal(got.events, want.events)


def need(*programs: str) -> None:
    """Skip the test where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
