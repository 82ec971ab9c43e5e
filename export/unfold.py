"""Convolutions over time as matrix products, which is what dynamic int8 is quick at and makes small."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_CHANNELS = 96
"""Fewer inputs than this come from the log-mel itself, whose range is where int8 loses most: those stay."""


class UnfoldedConv(nn.Module):
    """What `conv` computes, as one product of its taps side by side with its weights."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.taps, self.step, self.spacing = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
        self.pad = int(conv.padding[0])
        weight = conv.weight.detach().permute(2, 1, 0).reshape(-1, conv.out_channels)
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, T] -> [B, O, F]."""
        x = functional.pad(x, (self.pad, self.pad)).transpose(1, 2)
        n = (x.shape[1] - self.spacing * (self.taps - 1) - 1) // self.step + 1
        starts = [tap * self.spacing for tap in range(self.taps)]
        beside = torch.cat([x[:, s : s + self.step * (n - 1) + 1 : self.step] for s in starts], dim=2)
        y = beside @ self.weight
        return (y if self.bias is None else y + self.bias).transpose(1, 2)


def unfold_convolutions(module: nn.Module) -> nn.Module:
    """A copy of `module` whose wide convolutions over time are products; it computes the same."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv1d) and child.groups == 1 and child.in_channels >= MIN_CHANNELS:
                setattr(parent, name, UnfoldedConv(child))
    return module
