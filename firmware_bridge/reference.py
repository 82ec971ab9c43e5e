"""The quantised network in numpy, a step at a time: what every other runtime has to equal byte for byte."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.fixed_point import scaled
from firmware_bridge.network import ADD_LEFT_SHIFT, N_FEATURES, Add, Conv, Int8, QuantisedNet
from wakeword.errors import UsageError


class ReferenceNet:
    """Follows a stream of features; `feed` and `reset`, nothing else."""

    def __init__(self, net: QuantisedNet) -> None:
        self.net = net
        self._convs = {id(conv): _Runner(conv) for conv in (*net.convs, net.output)}
        self.reset()

    def reset(self) -> None:
        """Forget all features: every state holds its zero point."""
        for runner in self._convs.values():
            runner.reset()
        self._waiting = np.zeros((0, N_FEATURES), dtype=np.int8)

    def feed(self, features: Int8) -> npt.NDArray[np.uint8]:
        """Posteriors x 256 of the steps that these frames complete. int8 [F, 40] -> uint8 [S]."""
        if features.dtype != np.int8 or features.shape[1:] != (N_FEATURES,):
            raise UsageError(f"features are int8 [F, {N_FEATURES}], got {features.dtype} {features.shape}")
        waiting = np.concatenate([self._waiting, features])
        n_steps = len(waiting) // self.net.stride
        self._waiting = waiting[n_steps * self.net.stride :]
        if not n_steps:
            return np.zeros(0, dtype=np.uint8)
        steps = waiting[: n_steps * self.net.stride].reshape(n_steps, self.net.stride, N_FEATURES)
        return self.net.sigmoid[self.logits(steps).astype(np.int64) + 128]

    def logits(self, steps: Int8) -> Int8:
        """int8 logits of whole steps [S, stride, 40] -> [S]."""
        return self._run(self.net.output, self.hidden(steps))[:, 0]

    def hidden(self, steps: Int8) -> Int8:
        """What the last block says of whole steps [S, stride, 40] -> [S, C]; all steps of a layer at once."""
        x = self._run(self.net.stem, steps.reshape(-1, N_FEATURES))
        for block in self.net.blocks:
            y = x
            for conv in block.convs:
                y = self._run(conv, y)
            x = add(block.add, x, y)
        return x

    def _run(self, conv: Conv, rows: Int8) -> Int8:
        return self._convs[id(conv)].run(rows)


class _Runner:
    """One convolution and its state."""

    def __init__(self, conv: Conv) -> None:
        self.conv = conv
        self._weights = conv.weights.astype(
            np.float64
        )  # sums below 2^53 are exact, and a matrix product fast
        self._multipliers = np.array([s.multiplier for s in conv.fixed_point])
        self._shifts = np.array([s.shift for s in conv.fixed_point])
        self.reset()

    def reset(self) -> None:
        self.state = np.full(
            (self.conv.state_rows, self.conv.n_in), self.conv.input.zero_point, dtype=np.int8
        )

    def run(self, rows: Int8) -> Int8:
        """The outputs of the steps that the new rows make. [R, in] -> [R / stride, out]"""
        conv = self.conv
        seen = np.concatenate([self.state, rows])
        self.state = seen[len(seen) - conv.state_rows :]
        starts = np.arange(len(rows) // conv.stride) * conv.stride
        taps = seen[starts[:, None] + np.arange(conv.taps) * conv.dilation]
        x = taps.astype(np.float64) - conv.input.zero_point
        if conv.kind == "depthwise":
            sums = np.einsum("stc,tc->sc", x, self._weights)
        else:
            sums = x.reshape(len(x), -1) @ self._weights.reshape(conv.n_out, -1).T
        y = scaled(sums.astype(np.int64) + conv.bias, self._multipliers, self._shifts)
        return np.clip(y + conv.output.zero_point, conv.lowest, 127).astype(np.int8)


def add(numbers: Add, a: Int8, b: Int8) -> Int8:
    """The addition of two arrays of one shape."""
    n = numbers.numbers
    left = scaled((a.astype(np.int64) - numbers.a.zero_point) << ADD_LEFT_SHIFT, n.a.multiplier, n.a.shift)
    right = scaled((b.astype(np.int64) - numbers.b.zero_point) << ADD_LEFT_SHIFT, n.b.multiplier, n.b.shift)
    y = scaled(left + right, n.output.multiplier, n.output.shift) + numbers.output.zero_point
    return np.clip(y, -128, 127).astype(np.int8)
