"""From a trained student to integers: int8 weights per channel, activation ranges seen on real windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firmware_bridge.micro_student import MEL_PER_FEATURE, MicroStudent, as_mel
from firmware_bridge.network import (
    INPUT_SCALE,
    INPUT_ZERO_POINT,
    Add,
    Block,
    Conv,
    Int8,
    Kind,
    Quantisation,
    QuantisedNet,
)
from wakeword.errors import ExportError
from wakeword.train.student import MEL_SCALE

BATCH = 64
CLIPPED = 1e-5
"""Share of activations that may lie beyond the range: the rarest outliers would cost everyone resolution."""
LOGIT_RANGE = (-10.0, 6.0)
"""Beyond these the sigmoid says 0 or 255 in any case."""
INT8_STEPS = 255

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """Least and greatest value of some activations; 0 lies within."""

    low: float
    high: float

    @property
    def quantisation(self) -> Quantisation:
        """int8 over all of the range, with an exact zero."""
        scale = float(np.float32(max(self.high - self.low, 1e-6) / INT8_STEPS))
        return Quantisation(scale, int(np.clip(round(-128 - self.low / scale), -128, 127)))


class Ranges:
    """Runs a student on windows and keeps the range of everything it computes on the way."""

    def __init__(self, student: MicroStudent, windows: Int8) -> None:
        """`windows`: int8 features [N, F, 40]; ExportError for none."""
        if not len(windows):
            raise ExportError("no windows to find the ranges of activations on")
        self._seen = dict[str, list[npt.NDArray[np.float32]]]()
        watched, cut = student.folded(), windows.shape[1] % student.config.stride
        watched.watch = self._see
        with torch.inference_mode():
            for start in range(0, len(windows), BATCH):
                x = torch.from_numpy(as_mel(windows[start : start + BATCH, cut:])).transpose(1, 2)
                watched.hidden(x, watched.zero_states(x.shape[0]))

    def _see(self, name: str, values: Tensor) -> Tensor:
        tails = values.flatten().quantile(torch.tensor([CLIPPED, 1 - CLIPPED]))
        self._seen.setdefault(name, []).append(tails.numpy())
        return values

    def of(self, name: str) -> Quantisation:
        """The quantisation that covers what was seen of an activation: its extremes, batch by batch."""
        tails = np.stack(self._seen[name])
        return Range(min(float(tails[:, 0].min()), 0.0), max(float(tails[:, 1].max()), 0.0)).quantisation

    def quantisations(self) -> dict[str, Quantisation]:
        """Of every activation, by name."""
        return {name: self.of(name) for name in self._seen}


def quantise(student: MicroStudent, phrase: str, windows: Int8) -> QuantisedNet:
    """The student in integers, for one of its phrases. `windows`: int8 features [N, F, 40] of training."""
    student = student.folded()
    ranges, stride = Ranges(student, windows), student.config.stride
    source = Quantisation(INPUT_SCALE, INPUT_ZERO_POINT)
    weights, bias = _numbers(student.stem)
    # The scaling of the host's log-mel and the student's undo each other: what is left is one factor.
    weights = weights * (MEL_PER_FEATURE / MEL_SCALE)
    stem = _conv("dense", weights, bias, source, ranges.of("stem"), relu=True, stride=stride)
    x, blocks = stem.output, list[Block]()
    for i, (block, dilation) in enumerate(zip(student.blocks, student.config.dilations, strict=True)):
        made = _block(block, i, x, ranges, dilation)
        blocks.append(made)
        x = made.add.output
    weights, bias = _numbers(student.output)
    k = student.phrases.index(phrase)
    logit = Range(*LOGIT_RANGE).quantisation
    output = _conv("full", weights[k : k + 1], bias[k : k + 1], x, logit)
    return QuantisedNet(phrase, stride, stem, tuple(blocks), output)


def _block(block: nn.Module, i: int, x: Quantisation, ranges: Ranges, dilation: int) -> Block:
    assert isinstance(block, nn.Sequential)
    weights, bias = _numbers(block[0])
    depthwise = _conv(
        "depthwise", weights[:, :, 0].T, bias, x, ranges.of(f"{i} depthwise"), dilation=dilation
    )
    weights, bias = _numbers(block[1])
    dense = _conv("dense", weights, bias, depthwise.output, ranges.of(f"{i} dense"), relu=True)
    return Block((depthwise, dense), Add(x, dense.output, ranges.of(f"{i} sum")))


def _numbers(conv: nn.Module) -> tuple[Array, Array]:
    """Weights [out, taps, in] and biases [out] of a convolution."""
    assert isinstance(conv, nn.Conv1d) and conv.bias is not None
    weight, bias = conv.weight.detach().double(), conv.bias.detach().double()
    return weight.permute(0, 2, 1).numpy(), bias.numpy()


def _conv(
    kind: Kind,
    weights: Array,
    bias: Array,
    source: Quantisation,
    target: Quantisation,
    *,
    relu: bool = False,
    dilation: int = 1,
    stride: int = 1,
) -> Conv:
    axes = {"dense": (1, 2), "depthwise": (0,), "full": None}[kind]
    peaks = np.atleast_1d(np.abs(weights).max(axis=axes))
    scales = (np.maximum(peaks, 1e-9) / 127).astype(np.float32)
    per_output = (
        scales.astype(np.float64) if kind == "depthwise" else scales.astype(np.float64)[:, None, None]
    )
    integers = np.clip(np.rint(weights / per_output), -127, 127).astype(np.int8)
    biases = np.rint(bias / (source.scale * scales.astype(np.float64)))
    if np.abs(biases).max() >= 2**30:
        raise ExportError("a bias is beyond what 32 bits hold: a channel of the student never fires")
    return Conv(
        kind,
        integers,
        biases.astype(np.int32),
        scales,
        source,
        target,
        relu,
        dilation=dilation,
        stride=stride,
    )
