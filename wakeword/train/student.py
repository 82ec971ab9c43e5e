"""The student: a small causal network that follows a stream and is cheap enough to hear everything.

    mel  |s|s|s|s|...   `stride` frames make one step: a product without overlap, so the stem needs no state
    block               causal convolution over kernel x dilation steps + norm + ReLU, added to its input
    output              one logit per phrase and step

Only convolutions, additions and ReLU: what int8 kernels of any microcontroller compute. The norms (batch
normalisation, Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167) are for training; `folded` makes them
part of the convolutions. These are dense: at this size a depthwise and a pointwise one together take longer,
on hosts and in training alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from wakeword.config import StudentConfig
from wakeword.errors import UsageError

MEL_SHIFT, MEL_SCALE = 4.0, 4.0
"""What comes in is (x + 4) / 4: log10 power of talk at any level then lies within about ±1.5."""
NORM_MOMENTUM = 0.05
"""Share of a batch in the running mean and variance that stand for all batches later."""

Watch = Callable[[str, Tensor], Tensor]
"""Given the name and the values of something computed on the way, says what is gone on with."""


def unchanged(name: str, x: Tensor) -> Tensor:
    """Go on with the same."""
    return x


AnyStudent = TypeVar("AnyStudent", bound="StudentNet")


class StudentNet(nn.Module):
    """Log-mel frames in, logits per step and the new states out.

    With zero states it scores a window (training); with the states of the last call it follows a stream. Both
    give the same, however the stream is cut into whole steps.
    """

    def __init__(self, phrases: Sequence[str], config: StudentConfig) -> None:
        super().__init__()
        self.phrases = tuple(phrases)
        self.config = config
        width = config.channels
        self.stem = nn.Conv1d(config.n_features, width, config.stride, stride=config.stride)
        self.blocks = nn.ModuleList(
            nn.Conv1d(width, width, config.kernel, dilation=dilation) for dilation in config.dilations
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(width, momentum=NORM_MOMENTUM) for _ in range(1 + len(config.dilations))
        )
        """Of the stem, then of each block."""
        self.output = nn.Conv1d(width, len(self.phrases), 1)
        self.watch: Watch = unchanged
        """Told of "stem", and of each block i's "i dense" and "i sum"."""
        self._start()

    def _start(self) -> None:
        for conv in (self.stem, *self.blocks):
            assert isinstance(conv, nn.Conv1d)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.get_parameter("bias"))
        nn.init.constant_(self.output.get_parameter("bias"), -4.0)  # most steps end no phrase

    def state_steps(self) -> list[int]:
        """Past steps that each block remembers."""
        return [(self.config.kernel - 1) * dilation for dilation in self.config.dilations]

    def zero_states(self, batch: int) -> list[Tensor]:
        """States before the first frame: one [B, C, n] per block."""
        like = self.output.weight
        return [like.new_zeros(batch, self.config.channels, n) for n in self.state_steps()]

    def hidden(self, mel: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """What the last block says of each step. mel [B, M, T] -> [B, C, T / stride], new states."""
        if mel.shape[2] % self.config.stride:
            raise UsageError(f"{mel.shape[2]} frames are no whole number of steps of {self.config.stride}")
        stem_norm, *norms = self.norms
        x = self.convolve(self.stem, (mel + MEL_SHIFT) / MEL_SCALE)
        x = self.watch("stem", torch.relu(stem_norm(x)))
        after = []
        for i, (block, norm, state) in enumerate(zip(self.blocks, norms, states, strict=True)):
            seen = torch.cat([state, x], dim=2)
            after.append(seen[:, :, seen.shape[2] - state.shape[2] :])
            y = self.watch(f"{i} dense", torch.relu(norm(self.through_block(i, block, seen))))
            x = self.watch(f"{i} sum", x + y)
        return x, after

    def through_block(self, i: int, block: nn.Module, seen: Tensor) -> Tensor:
        """The convolutions of block i."""
        return self.convolve(block, seen)

    def convolve(self, conv: nn.Module, x: Tensor) -> Tensor:
        """One convolution."""
        y: Tensor = conv(x)
        return y

    def forward(self, mel: Tensor, states: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits of each step. mel [B, M, T], states (None = zero) -> [B, T / stride, K], new states."""
        x, after = self.hidden(mel, self.zero_states(len(mel)) if states is None else states)
        logits: Tensor = self.output(x)
        return logits.transpose(1, 2), after

    def without_norms(self: AnyStudent) -> AnyStudent:
        """This student, its norms gone: what they did is lost."""
        self.norms = nn.ModuleList(nn.Identity() for _ in self.norms)
        return self

    def folded(self: AnyStudent) -> AnyStudent:
        """A copy on the CPU, in evaluation mode, that says the same by convolutions alone."""
        plain = deepcopy(self).cpu().eval()
        with torch.no_grad():
            for layer, norm in zip((plain.stem, *plain.blocks), plain.norms, strict=True):
                _fold(layer[-1] if isinstance(layer, nn.Sequential) else layer, norm)
        return plain.without_norms()


def _fold(conv: nn.Module, norm: nn.Module) -> None:
    """Make a norm part of the convolution before it."""
    if not isinstance(norm, nn.BatchNorm1d):
        return
    assert isinstance(conv, nn.Conv1d) and conv.bias is not None
    assert norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    conv.weight.mul_(factor.view(-1, 1, 1))
    conv.bias.copy_((conv.bias - norm.running_mean) * factor + norm.bias)


def n_parameters(net: nn.Module) -> int:
    """Trainable numbers in a network."""
    return sum(p.numel() for p in net.parameters())
