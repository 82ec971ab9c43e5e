"""The quantised network of a microcontroller: integers only, as every runtime here computes them.

    features int8 [stride, 40] -> stem -> block -> ... -> block -> output -> sigmoid table -> uint8

    stem, convolution   taps rows under it, the newest last; what it must remember are its state rows
    block               one or two convolutions and the addition of the block's own input
    output              one logit, int8; the table gives 256 x its sigmoid

`fixed_point` and `Add.numbers` give the multipliers and shifts that TFLite Micro's reference kernels derive
from the same scales. A step is `stride` feature frames (30 ms); a row is a frame in the stem, else a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from firmware_bridge.fixed_point import Scaling, quantise_multiplier, sigmoid_table
from wakeword.errors import ExportError

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Kind = Literal["dense", "depthwise", "full"]

N_FEATURES = 40
INPUT_SCALE, INPUT_ZERO_POINT = float(np.float32(26 / 255)), -128
"""What ESPHome's firmware feeds every model, hard-coded there."""
ADD_LEFT_SHIFT = 20
"""By how many bits an addition makes room before it rescales its inputs."""


@dataclass(frozen=True)
class Quantisation:
    """real = scale x (int8 - zero_point); the scale is exact in float32."""

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class Conv:
    """One convolution over the last rows, with its rescaling to int8.

    For output channel o:
        sum = bias[o] + sum over taps and inputs of weight x (x - input.zero_point)
        y = clamp(scaled(sum, fixed_point[o]) + output.zero_point, lowest, 127)
    """

    kind: Kind
    """dense: every input to every output; depthwise: each channel for itself; full: dense over one row."""
    weights: Int8
    """dense and full [out, taps, in], depthwise [taps, channels]; tap 0 is the oldest row."""
    bias: Int32
    """[out], in units of input scale x weight scale."""
    weight_scales: npt.NDArray[np.float32]
    """One for each output channel [out]; `full` has a single one [1]."""
    input: Quantisation
    output: Quantisation
    relu: bool
    dilation: int = 1
    """Rows from one tap to the next."""
    stride: int = 1
    """New rows in each step."""

    @property
    def taps(self) -> int:
        """Rows that have a weight."""
        return int(self.weights.shape[0 if self.kind == "depthwise" else 1])

    @property
    def n_in(self) -> int:
        """Channels of a row that goes in."""
        return int(self.weights.shape[-1])

    @property
    def n_out(self) -> int:
        """Channels that come out."""
        return len(self.bias)

    @property
    def rows(self) -> int:
        """Rows from the oldest tap to the newest."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def state_rows(self) -> int:
        """Rows to remember from step to step; before the first they hold the input's zero point."""
        return self.rows - self.stride

    @property
    def lowest(self) -> int:
        """Least int8 that comes out: the zero point after a ReLU."""
        return self.output.zero_point if self.relu else -128

    @property
    def macs(self) -> int:
        """Multiplications by a weight in one step."""
        return self.weights.size

    @cached_property
    def fixed_point(self) -> tuple[Scaling, ...]:
        """Rescaling of each output channel [out], as TFLite Micro computes it."""
        scales = np.broadcast_to(self.weight_scales, self.n_out)
        if self.kind == "full":  # this kernel multiplies the two in float32, the others in double
            products = [float(np.float32(self.input.scale) * scale) for scale in scales]
        else:
            products = [self.input.scale * float(scale) for scale in scales]
        return tuple(quantise_multiplier(product / self.output.scale) for product in products)


@dataclass(frozen=True)
class AddNumbers:
    """An addition in integers.

    y = clamp(scaled(scaled((a - a_zero) << 20, a) + scaled((b - b_zero) << 20, b), output) + output_zero)
    """

    a: Scaling
    b: Scaling
    output: Scaling


@dataclass(frozen=True)
class Add:
    """The sum of a block's input (a) and of what its convolutions make of it (b)."""

    a: Quantisation
    b: Quantisation
    output: Quantisation

    @cached_property
    def numbers(self) -> AddNumbers:
        """Its multipliers and shifts, as TFLite Micro computes them; no shift is above 0."""
        twice = 2 * max(self.a.scale, self.b.scale)
        out = twice / ((1 << ADD_LEFT_SHIFT) * self.output.scale)
        return AddNumbers(
            *(quantise_multiplier(x) for x in (self.a.scale / twice, self.b.scale / twice, out))
        )


@dataclass(frozen=True)
class Block:
    """Convolutions one after the other, and the addition of the block's input."""

    convs: tuple[Conv, ...]
    add: Add


@dataclass(frozen=True)
class QuantisedNet:
    """A student for one phrase in integers."""

    phrase: str
    stride: int
    """Feature frames (of 10 ms) in one step."""
    stem: Conv
    blocks: tuple[Block, ...]
    output: Conv

    def __post_init__(self) -> None:
        check_network(self)

    @property
    def input(self) -> Quantisation:
        """Of the features."""
        return self.stem.input

    @property
    def convs(self) -> tuple[Conv, ...]:
        """All convolutions in the order they run, without the output."""
        return (self.stem, *(conv for block in self.blocks for conv in block.convs))

    @property
    def state_shapes(self) -> list[tuple[int, int]]:
        """(rows, channels) of each state, in the order of `convs`, those that remember nothing left out."""
        return [(conv.state_rows, conv.n_in) for conv in self.convs if conv.state_rows]

    @property
    def macs(self) -> int:
        """Multiplications by a weight in one step."""
        return sum(conv.macs for conv in (*self.convs, self.output))

    @property
    def n_parameters(self) -> int:
        """Weights and biases."""
        return sum(conv.weights.size + conv.bias.size for conv in (*self.convs, self.output))

    @cached_property
    def sigmoid(self) -> npt.NDArray[np.uint8]:
        """What each logit becomes [256], indexed by logit + 128: 256 x posterior, at most 255."""
        return sigmoid_table(self.output.output.scale, self.output.output.zero_point)


def check_network(net: QuantisedNet) -> None:
    """Raise ExportError where scales or shapes of neighbours do not fit, or a scaling is out of range."""
    before, channels = net.input, N_FEATURES
    if (net.stem.stride, net.stem.n_in) != (net.stride, N_FEATURES):
        raise ExportError(f"the stem takes {net.stem.n_in} features at stride {net.stem.stride}")
    for at, parts in _parts(net):
        source, width = before, channels
        for conv in parts:
            if conv.input != source or conv.n_in != width or conv.state_rows < 0:
                raise ExportError(f"{at}: a convolution does not fit what comes before it")
            source, width = conv.output, conv.n_out
        add = next((b.add for i, b in enumerate(net.blocks) if at == f"block {i}"), None)
        if add is not None and ((add.a, add.b) != (before, source) or width != channels):
            raise ExportError(f"{at}: what it adds up has other scales or channels than its input")
        before, channels = (add.output if add else source), width
    if net.output.kind != "full" or net.output.n_out != 1:
        raise ExportError(f"a network for one phrase has one output, got {net.output.n_out}")


def _parts(net: QuantisedNet) -> Iterator[tuple[str, tuple[Conv, ...]]]:
    yield "stem", (net.stem,)
    for i, block in enumerate(net.blocks):
        yield f"block {i}", block.convs
    yield "output", (net.output,)
