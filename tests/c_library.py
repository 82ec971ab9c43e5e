"""Running the C library on this computer: compiled once for each network, compared slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from firmware_bridge.decision import FirmwareDecision, FirmwareRule
from firmware_bridge.emit_model import CModel, render_header, render_source
from firmware_bridge.micro import micro_features
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


def compile_on_host(folder: Path, main: Path, *flags: str, model: CModel | None = None) -> Path:
    """A program of the library on this computer; `main` brings the main function."""
    sources = sorted(C_DIR.glob("ww*.c"))
    if model is not None:
        (folder / "ww_model.h").write_text(render_header(model))
        (folder / "ww_model.c").write_text(render_source(model))
        sources.append(folder / "ww_model.c")
    program = folder / main.stem
    includes = [f"-I{C_DIR}", f"-I{folder}", f"-I{C_DIR / 'proof'}"]
    run_tool(["gcc", *C_FLAGS, *flags, *includes, *map(str, (*sources, main)), "-o", str(program)], 120)
    return program


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
    import shutil

    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
