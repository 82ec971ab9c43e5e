"""Convolutions as matrix products: the same numbers, and graphs that int8 reaches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from export.graph import trace_module
from export.quantize import quantize_dynamic_int8
from export.unfold import UnfoldedConv, unfold_convolutions


@pytest.mark.parametrize(
    ("taps", "step", "pad", "spacing"), [(3, 2, 1, 1), (9, 1, 4, 1), (9, 1, 8, 2), (1, 1, 0, 1)]
)
@pytest.mark.parametrize("frames", [17, 18])
def test_the_product_is_the_convolution(taps: int, step: int, pad: int, spacing: int, frames: int) -> None:
    torch.manual_seed(1)
    conv = nn.Conv1d(96, 5, taps, stride=step, padding=pad, dilation=spacing)
    x = torch.randn(2, 96, frames)
    with torch.no_grad():
        torch.testing.assert_close(UnfoldedConv(conv)(x), conv(x), rtol=1e-5, atol=1e-5)


def test_only_wide_plain_convolutions_are_unfolded_and_the_net_itself_stays() -> None:
    net = nn.Sequential(
        nn.Conv1d(80, 96, 3), nn.Conv1d(96, 96, 3, bias=False), nn.Conv1d(96, 96, 3, groups=96)
    )
    copy = unfold_convolutions(net)
    assert [type(layer) for layer in copy] == [nn.Conv1d, UnfoldedConv, nn.Conv1d]
    assert all(type(layer) is nn.Conv1d for layer in net)
    x = torch.randn(1, 80, 20)
    with torch.no_grad():
        torch.testing.assert_close(copy(x), net(x), rtol=1e-5, atol=1e-5)


def test_an_unfolded_convolution_gets_int8_weights() -> None:
    conv = nn.Sequential(nn.Conv1d(384, 384, 3, stride=2, padding=1))
    graph = trace_module(conv.eval(), torch.randn(2, 384, 20), "x", "y")
    size = len(quantize_dynamic_int8(graph).SerializeToString())
    assert size < len(graph.SerializeToString()) / 3
