"""From a trained net to a `.wakeword` bundle: export, quantise, prove that all three say the same, pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch

import wakeword
from export.graph import verifier_graph
from export.quantize import quantize_dynamic_int8
from wakeword.audio import INT16_SCALE, SAMPLE_RATE
from wakeword.bundle import Bundle, Golden, Manifest
from wakeword.config import TrainConfig
from wakeword.errors import ExportError
from wakeword.mel import n_samples
from wakeword.train.model import WakewordNet, window_columns
from wakeword.verifier import golden_window, logit, make_session

MAX_FP32_DIFFERENCE = 1e-3
"""Posterior by which the fp32 graph may differ from torch on any window."""
MAX_INT8_DIFFERENCE = 0.05
"""Mean posterior difference that int8 weights may cause over the parity windows."""


@dataclass(frozen=True)
class Parity:
    """How far the exported graphs are from torch, in posterior, over the same windows."""

    windows: int
    fp32_max: float
    int8_max: float
    int8_mean: float


def export_verifier(
    net: WakewordNet, windows: npt.NDArray[np.float32], metadata: Mapping[str, object]
) -> tuple[onnx.ModelProto, onnx.ModelProto, Parity]:
    """The verifier as (fp32 graph, int8 graph) and their parity with torch.

    `windows` are encoder inputs [B, 80, T] or [B, N] to compare on; use phrases and background.
    Raises ExportError when a graph computes something else than the net.
    """
    fp32 = verifier_graph(net, torch.from_numpy(windows[:2]), metadata)
    int8 = quantize_dynamic_int8(fp32)
    return fp32, int8, check_parity(net, windows, fp32, int8)


def check_parity(
    net: WakewordNet, windows: npt.NDArray[np.float32], fp32: onnx.ModelProto, int8: onnx.ModelProto
) -> Parity:
    """Compare both graphs with torch, window by window as a listener does; ExportError beyond tolerance."""
    with torch.inference_mode():
        expected = torch.sigmoid(net.cpu().eval()(torch.from_numpy(windows))).numpy()
    off = {name: np.abs(_run(g, windows) - expected) for name, g in (("fp32", fp32), ("int8", int8))}
    parity = Parity(
        len(windows), float(off["fp32"].max()), float(off["int8"].max()), float(off["int8"].mean())
    )
    if not parity.fp32_max <= MAX_FP32_DIFFERENCE:
        raise ExportError(f"the fp32 graph differs from torch by {parity.fp32_max:.4f} in posterior")
    if not parity.int8_mean <= MAX_INT8_DIFFERENCE:
        raise ExportError(
            f"the int8 graph differs from torch by {parity.int8_mean:.4f} in posterior on average"
        )
    return parity


def _run(graph: onnx.ModelProto, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = make_session(graph.SerializeToString())
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: window[None]})[0] for window in windows])


def draft_bundle(
    net: WakewordNet,
    verifier: onnx.ModelProto,
    name: str,
    config: TrainConfig,
    training: Mapping[str, object],
) -> Bundle:
    """A bundle that can score, its thresholds still to be calibrated (all at 1)."""
    data = verifier.SerializeToString()
    window = window_columns(net.encoder, config.window_s)
    kind = net.encoder.input
    audio = golden_audio(n_samples(window) if kind == "mel" else window)
    blank = Golden(audio, np.zeros(len(net.phrases), dtype=np.float32))
    posterior = _run(verifier, golden_window(kind, window, blank)[None])[0]
    manifest = Manifest(
        name=name,
        phrases=net.phrases,
        input=kind,
        window=window,
        thresholds={phrase: {} for phrase in net.phrases},
        default_fa_per_hour="0.5",
        decision=config.decision,
        encoder=net.encoder.spec.name,
        training=training,
        licences={"wakeword": "MIT", f"encoder {net.encoder.spec.name}": net.encoder.spec.licence},
        wakeword_version=wakeword.__version__,
    )
    return Bundle(manifest, data, Golden(audio, logit(posterior)))


def golden_audio(samples: int) -> npt.NDArray[np.int16]:
    """A fixed, speech-like sound: a gliding buzz in three formant-wide bands, with bursts of noise."""
    rng = np.random.default_rng(2022)
    t = np.arange(samples) / SAMPLE_RATE
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 1.5 * t)) / SAMPLE_RATE
    harmonics: Sequence[npt.NDArray[np.float64]] = [
        np.sin(h * pitch) * sum(np.exp(-(((h * 120 - f) / 150) ** 2)) for f in (500, 1500, 2500))
        for h in range(1, 30)
    ]
    syllables = np.clip(np.sin(2 * np.pi * 3 * t), 0, None)
    noise = rng.standard_normal(samples) * 0.05 * np.clip(np.sin(2 * np.pi * 3 * t + np.pi), 0, None)
    sound = 0.1 * np.sum(harmonics, axis=0) * syllables + noise
    return np.asarray(np.clip(sound, -1, 1) * (INT16_SCALE - 1), dtype=np.int16)
