"""Quantisation-aware training: a student that already computes with the rounding it will have in int8.

Weights are rounded per channel and activations within the ranges that `firmware_bridge.quantize` found, in
the forward pass; gradients pass through as if they were not (the straight-through estimator; Jacob et al.
2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from firmware_bridge.micro_student import MicroStudent
from firmware_bridge.network import Int8
from firmware_bridge.quantize import Ranges

SMALLEST = 1e-9
"""Peak weight of a channel that is all zeros."""


class AwareStudent(MicroStudent):
    """A trained student with int8 rounding in all layers but the last."""

    def __init__(self, student: MicroStudent, windows: Int8) -> None:
        """Copy `student`; ranges of activations are those on `windows`, int8 features [N, F, 40]."""
        super().__init__(student.phrases, student.config)
        self.without_norms().load_state_dict(student.folded().state_dict())
        self._ranges = Ranges(student, windows).quantisations()
        self.watch = self._rounded

    def convolve(self, conv: nn.Module, x: Tensor) -> Tensor:
        """As `StudentNet.convolve`, by rounded weights."""
        return _conv(conv, x)

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        q = self._ranges[name]
        return torch.fake_quantize_per_tensor_affine(x, q.scale, q.zero_point, -128, 127)

    def without_rounding(self) -> MicroStudent:
        """The same weights in a plain student."""
        plain = MicroStudent(self.phrases, self.config).without_norms()
        plain.load_state_dict(self.state_dict())
        return plain.eval()


def _conv(conv: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv1d)
    peaks = conv.weight.detach().abs().amax(dim=(1, 2)).clamp_min(SMALLEST)
    zeros = torch.zeros(len(peaks), dtype=torch.int32)
    weight = torch.fake_quantize_per_channel_affine(conv.weight, peaks / 127, zeros, 0, -127, 127)
    return functional.conv1d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
