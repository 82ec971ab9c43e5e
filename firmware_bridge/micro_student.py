"""The student for microcontrollers: the host's student with another front end and lighter blocks.

    micro features -> scaled as the host's log-mel is -> stem -> blocks -> one logit per phrase and step

A step is 30 ms. A block is a depthwise convolution over time and a dense one over channels: per weight it
hears longer than a dense one over time, and weights are what flash and a slow processor have least of.
Training sees the host's interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firmware_bridge.micro import MicroFeatures
from firmware_bridge.network import INPUT_SCALE, INPUT_ZERO_POINT, N_FEATURES, Int8
from wakeword.audio import FRAME_SAMPLES, SAMPLE_RATE
from wakeword.config import StudentConfig
from wakeword.train.student import MEL_SHIFT, StudentNet

MICRO_STUDENT = StudentConfig(
    n_features=N_FEATURES, stride=3, channels=64, kernel=7, dilations=(1, 1, 2, 2, 2, 2)
)
"""The last step hears 1.8 s. 35,841 parameters for one phrase."""
MEL_PER_FEATURE = 0.3
"""Features reach 26; times this they span what log-mel does, and 0 is as far down as its silence."""
WARM_UP_S = 1.2
"""What the front end hears of a window, backwards, before the window itself: its noise estimate needs it."""


class Depthwise(nn.Conv1d):
    """A convolution of each channel by itself; on a CPU its gradient takes a third of the time of torch's."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T - (kernel - 1) x dilation]."""
        assert self.bias is not None
        step, taps = self.dilation[0], self.kernel_size[0]
        n, y = x.shape[2] - (taps - 1) * step, self.bias.view(1, -1, 1)
        for tap in range(taps):
            y = torch.addcmul(y, x[:, :, tap * step : tap * step + n], self.weight[:, 0, tap].view(1, -1, 1))
        return y


class MicroStudent(StudentNet):
    """Scaled micro features in, logits per step and the new states out."""

    def __init__(self, phrases: Sequence[str], config: StudentConfig = MICRO_STUDENT) -> None:
        super().__init__(phrases, config)
        width = config.channels
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Depthwise(width, width, config.kernel, dilation=dilation, groups=width),
                nn.Conv1d(width, width, 1),
            )
            for dilation in config.dilations
        )
        for conv in (c for block in self.blocks for c in block.children()):
            assert isinstance(conv, nn.Conv1d)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
            nn.init.zeros_(conv.get_parameter("bias"))

    def through_block(self, i: int, block: nn.Module, seen: Tensor) -> Tensor:
        """As `StudentNet.through_block`; `watch` is told of "i depthwise" too."""
        assert isinstance(block, nn.Sequential)
        y = self.watch(f"{i} depthwise", self.convolve(block[0], seen))
        return self.convolve(block[1], y)


def as_mel(features: Int8) -> npt.NDArray[np.float32]:
    """Features as the student takes them, on the scale of log-mel. [..., 40] -> [..., 40]."""
    scale, shift = np.float32(INPUT_SCALE * MEL_PER_FEATURE), np.float32(MEL_SHIFT)
    mel: npt.NDArray[np.float32] = (features.astype(np.float32) - INPUT_ZERO_POINT) * scale - shift
    return mel


def from_mel(mel: npt.NDArray[np.floating[Any]]) -> Int8:
    """The features again; the exact inverse of `as_mel`, from float16 too."""
    real = (mel.astype(np.float32) + np.float32(MEL_SHIFT)) / np.float32(MEL_PER_FEATURE * INPUT_SCALE)
    features: Int8 = np.clip(np.rint(real) + INPUT_ZERO_POINT, -128, 127).astype(np.int8)
    return features


class MicroFrontEnd(nn.Module):
    """Stands where `cache_features` expects a verifier, and gives what the student hears of windows."""

    def encoder_input(self, audio: Tensor) -> Tensor:
        """The audio as it is."""
        return audio

    def features(self, x: Tensor) -> Tensor:
        """Scaled features of windows [B, N] -> [B, 40, F], whole steps counted from the end."""
        rows = [as_mel(warm_features(window)) for window in x.numpy()]
        return torch.from_numpy(np.stack(rows)).transpose(1, 2).contiguous()


def warm_features(window: npt.NDArray[np.float32]) -> Int8:
    """Features of a window [N] -> int8 [F, 40] by a front end that has heard the like before."""
    before = window[1 : 1 + int(WARM_UP_S * SAMPLE_RATE)][::-1]
    heard = np.concatenate([before, window])
    heard = heard[len(heard) % FRAME_SAMPLES :]  # the last frame ends where the window does
    return MicroFeatures().feed(heard)[-(len(window) // FRAME_SAMPLES - 2) :]
