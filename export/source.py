"""What is exported: a bundle, and the torch weights beside it where a target needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from export.frontend import student_takes_audio, takes_audio
from export.graph import verifier_graph
from export.quantize import quantize_static_int8, quantize_student_int8, to_fp16
from wakeword.bundle import Bundle, load_bundle
from wakeword.errors import ExportError, TrainingError, UsageError
from wakeword.train.checkpoint import has_checkpoint
from wakeword.train.fusion import load_verifier
from wakeword.train.model import WakewordNet
from wakeword.verifier import GOLDEN_TOLERANCE, golden_window, logit

PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
"""Of the verifier; what each needs is in `Source.verifier`."""
STUDENT_PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class Source:
    """A bundle to export. Graphs are made when they are asked for, each once."""

    name: str
    bundle: Bundle
    checkpoint: Path
    """Folder of its torch weights; it need not exist."""
    read_net: Callable[[Path], WakewordNet] = lambda folder: load_verifier(folder)[0]

    @property
    def has_net(self) -> bool:
        """Whether the torch weights are there."""
        return has_checkpoint(self.checkpoint)

    @cached_property
    def net(self) -> WakewordNet:
        """The torch net; ExportError where it is missing, or is not the one that the bundle was made from."""
        if not self.has_net:
            raise ExportError(
                f"no checkpoint in {self.checkpoint}, which fp32, fp16 and int8-static are made from; "
                "name the folder that `wakeword train` left with --checkpoint, or export --precision int8"
            )
        try:
            net = self.read_net(self.checkpoint)
        except (KeyError, RuntimeError) as err:
            raise TrainingError(f"{self.checkpoint}: not the checkpoint of a wake word ({err})") from err
        self._check_same(net)
        return net

    def verifier(self, precision: str, windows: npt.NDArray[np.float32] | None = None) -> onnx.ModelProto:
        """The verifier as the bundle takes its input; `windows` are what int8-static is calibrated on."""
        if precision == "int8":
            return onnx.load_from_string(self.bundle.verifier)
        if precision == "int8-static":
            if windows is None:
                raise UsageError(
                    "--precision int8-static is calibrated on recordings; give --phrases and --background"
                )
            return quantize_static_int8(self._fp32, windows)
        return self._fp32 if precision == "fp32" else to_fp16(self._fp32)

    def student(self, precision: str) -> onnx.ModelProto | None:
        """The student with log-mel input, as the bundle holds it or with int8 weights; None without one."""
        if self.bundle.student is None:
            return None
        graph = onnx.load_from_string(self.bundle.student)
        return quantize_student_int8(graph) if precision == "int8" else graph

    @cached_property
    def _fp32(self) -> onnx.ModelProto:
        columns = self.bundle.manifest.window
        shape = (2, 80, columns) if self.bundle.manifest.input == "mel" else (2, columns)
        example = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        return verifier_graph(self.net, example, {"phrases": self.bundle.manifest.phrases})

    def _check_same(self, net: WakewordNet) -> None:
        manifest, golden = self.bundle.manifest, self.bundle.golden
        if tuple(net.phrases) != tuple(manifest.phrases):
            raise ExportError(
                f"{self.checkpoint} is of another model: it knows {', '.join(net.phrases)}, "
                f"{self.name} {', '.join(manifest.phrases)}"
            )
        window = golden_window(manifest.input, manifest.window, golden)
        with torch.inference_mode():
            posterior = torch.sigmoid(net(torch.from_numpy(window[None])))[0].numpy()
        if (off := float(np.abs(logit(posterior) - golden.logits).max())) > GOLDEN_TOLERANCE:
            raise ExportError(
                f"{self.checkpoint} is of another model: {off:.1f} log-odds off {self.name} at its golden "
                "sound; name the right folder with --checkpoint"
            )


def open_source(path: Path, checkpoint: Path | None = None) -> Source:
    """The bundle, with the checkpoint beside it unless another is named."""
    if checkpoint is not None and not has_checkpoint(checkpoint):
        raise UsageError(f"--checkpoint {checkpoint}: no checkpoint there (weights.safetensors is missing)")
    return Source(path.name, load_bundle(path), checkpoint or path.with_suffix(".checkpoint"))


def with_audio_input(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A verifier or student that takes samples; as it is where it does already."""
    names = [i.name for i in graph.graph.input]
    if "mel" not in names:
        return graph
    return student_takes_audio(graph) if "state_0" in names else takes_audio(graph)
