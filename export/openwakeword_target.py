"""Target `openwakeword`: a classifier ONNX for each phrase, for a model trained on the speech embedding.

openWakeWord computes the embedding itself; a phrase is a graph `[1, 16, 96] -> [1, 1]` to it. There the score
that counts as a detection is 0.5, so the bundle's threshold is moved to 0.5.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from export.description import ExportedFile
from export.graph import trace_module
from export.onnx_target import save_graph
from export.options import Options
from export.source import Source
from wakeword.errors import ExportError
from wakeword.evaluate.calibrate import logit_of
from wakeword.train.head import Head

ENCODER = "speech-embedding"
FRAMES, WIDTH = 16, 96
"""Embeddings that openWakeWord hands to a classifier."""
WINDOW_S = 2.0


class _Classifier(nn.Module):
    """One phrase of a head, its threshold moved to 0.5. [B, 16, 96] -> [B, 1]."""

    def __init__(self, head: Head, phrase: int, threshold: float) -> None:
        super().__init__()
        self.head, self.phrase, self.shift = head, phrase, logit_of(threshold)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(x)[:, self.phrase : self.phrase + 1] - self.shift)


def write(source: Source, options: Options, folder: Path) -> list[ExportedFile]:
    """Write `<phrase>.onnx` for each phrase; ExportError for a model on another encoder or window."""
    manifest = source.bundle.manifest
    if manifest.encoder != ENCODER:
        raise ExportError(
            f"{source.name} is built on {manifest.encoder}, which openWakeWord does not have; train with "
            f"--encoder {ENCODER}, and window_s = {WINDOW_S} in --config"
        )
    net = source.net
    frames = net.features(torch.zeros(1, manifest.window)).shape[1]
    if frames != FRAMES:
        raise ExportError(
            f"{source.name} hears {frames} embeddings at once, openWakeWord {FRAMES}; train it with "
            f"window_s = {WINDOW_S} in --config"
        )
    files = []
    for k, phrase in enumerate(manifest.phrases):
        threshold = manifest.threshold(phrase, float(manifest.default_fa_per_hour), "verifier").value
        file = ExportedFile(f"{file_name(phrase)}.onnx", "classifier", "embedding", "fp32", "onnx")
        graph = classifier_graph(net.head, k, threshold)
        save_graph(graph, folder / file.file, manifest, file)
        files.append(file)
    return files


def classifier_graph(head: Head, phrase: int, threshold: float) -> onnx.ModelProto:
    """The classifier of one phrase: `features` [1, 16, 96] -> `score` [1, 1]."""
    module = _Classifier(head, phrase, threshold).eval().cpu()
    return trace_module(module, torch.zeros(1, FRAMES, WIDTH), "features", "score", dynamic_batch=False)


def file_name(phrase: str) -> str:
    """openWakeWord names a model by its file."""
    return re.sub(r"\W+", "_", phrase.lower()).strip("_") or "phrase"
