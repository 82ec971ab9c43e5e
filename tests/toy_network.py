"""Small quantised networks with random numbers: every kind of convolution in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firmware_bridge.network import (
    INPUT_SCALE,
    INPUT_ZERO_POINT,
    N_FEATURES,
    Add,
    Block,
    Conv,
    Int8,
    Kind,
    Quantisation,
    QuantisedNet,
)


def toy_network(
    seed: int = 1,
    channels: int = 8,
    blocks: Sequence[str] = ("separable", "dense"),
    kernel: int = 3,
    dilations: Sequence[int] = (1, 2),
    stem_taps: int = 3,
) -> QuantisedNet:
    """A random network whose posteriors move about with random features."""
    rng = np.random.default_rng(seed)
    stem = _conv(
        rng, "dense", Quantisation(INPUT_SCALE, INPUT_ZERO_POINT), N_FEATURES, channels, stem_taps, stride=3
    )
    x, made = stem.output, list[Block]()
    for kind, dilation in zip(blocks, dilations, strict=True):
        if kind == "separable":
            first = _conv(rng, "depthwise", x, channels, channels, kernel, dilation=dilation, relu=False)
            convs: tuple[Conv, ...] = (first, _conv(rng, "dense", first.output, channels, channels, 1))
        else:
            convs = (_conv(rng, "dense", x, channels, channels, kernel, dilation=dilation),)
        out = Quantisation(_float32((x.scale + convs[-1].output.scale) / 1.5), int(rng.integers(-128, -90)))
        made.append(Block(convs, Add(x, convs[-1].output, out)))
        x = out
    output = _conv(rng, "full", x, channels, 1, 1, relu=False)
    return QuantisedNet("toy phrase", 3, stem, tuple(made), output)


def toy_features(frames: int, seed: int = 2) -> Int8:
    """Random int8 features [frames, 40] with the extremes among them."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(-40, 60, (frames, N_FEATURES)), -128, 127).astype(np.int8)


def _conv(
    rng: np.random.Generator,
    kind: Kind,
    source: Quantisation,
    n_in: int,
    n_out: int,
    taps: int,
    *,
    dilation: int = 1,
    stride: int = 1,
    relu: bool = True,
) -> Conv:
    shape = (taps, n_in) if kind == "depthwise" else (n_out, taps, n_in)
    drawn = rng.normal(0, 50, shape)
    if kind == "full":
        drawn -= drawn.mean()  # what comes in is mostly positive; the posteriors are to lie about 1/2
    weights = np.clip(drawn, -127, 127).astype(np.int8)
    fan_in = taps if kind == "depthwise" else taps * n_in
    spread = source.scale * 60 * 50 * np.sqrt(fan_in)
    if kind == "full":  # logits within about ±8
        scales = np.float32([2 / spread])
        target, bias = Quantisation(_float32(20 / 255), 5), rng.integers(-2000, 2000, n_out)
    else:
        scales = rng.uniform(0.002, 0.02, n_out).astype(np.float32)
        width = spread * 0.011 * (4 if relu else 6)
        zero = -128 if relu else int(rng.integers(-30, 30))
        target, bias = Quantisation(_float32(width / 255), zero), rng.integers(-2000, 2000, n_out)
    return Conv(kind, weights, bias.astype(np.int32), scales, source, target, relu, dilation, stride)


def _float32(x: float) -> float:
    return float(np.float32(x))
