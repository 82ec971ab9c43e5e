"""An exported folder run by node, with onnxruntime-node: what JavaScript hears of the same audio."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword.audio import HOP_S, SAMPLE_RATE, Samples
from wakeword.errors import ExportError
from wakeword.evaluate.trace import Trace

PROGRAM = Path(__file__).parent / "node" / "run.mjs"
TIMEOUT_S = 1800


@dataclass(frozen=True)
class NodeHost:
    """node and the folder of packages in which onnxruntime-node is."""

    node: str
    node_modules: Path

    def run(self, folder: Path, samples: Samples, mode: str, rate: str, precision: str) -> dict[str, Any]:
        """Events, posteriors of every hop from the first full window on, and ms per window."""
        with tempfile.NamedTemporaryFile(suffix=".f32") as file:
            samples.astype("<f4").tofile(file.name)
            done = subprocess.run(
                [self.node, str(PROGRAM), str(folder), file.name, mode, rate, precision],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
                env={**os.environ, "NODE_PATH": str(self.node_modules)},
            )
        if done.returncode:
            raise ExportError(f"node failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        heard: dict[str, Any] = json.loads(done.stdout)
        return heard


def find_node(node_modules: Path | None, folder: Path) -> NodeHost | None:
    """node with onnxruntime-node from the folder named, else from `node_modules` here or there."""
    node = shutil.which("node")
    places = [node_modules] if node_modules else [folder / "node_modules", Path("node_modules")]
    found = next((p for p in places if p and (p / "onnxruntime-node" / "package.json").is_file()), None)
    return NodeHost(node, found.resolve()) if node and found else None


def as_trace(
    heard: Mapping[str, Any], phrases: tuple[str, ...], warm_up_hops: int, samples: Samples, hours: float
) -> Trace:
    """What node said, as a trace of the stream."""
    scores: npt.NDArray[np.float32] = np.asarray(heard["posteriors"], dtype=np.float32)
    times = np.asarray((np.arange(len(scores)) + warm_up_hops) * HOP_S, dtype=np.float64)
    return Trace(phrases, times, scores.reshape(-1, len(phrases)), hours, len(samples) / SAMPLE_RATE)
