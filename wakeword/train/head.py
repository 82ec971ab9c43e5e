"""The new layers: encoder frames in, one logit per phrase out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wakeword.config import HeadConfig

HEAD_HZ = 25.0
"""Frames per second inside the head; the encoder's are averaged down to it."""


def pool_factor(frame_hz: float) -> int:
    """Encoder frames averaged into one frame of the head."""
    return max(1, round(frame_hz / HEAD_HZ))


class Head(nn.Module):
    """Two convolutions over time, one output node per phrase, pooled over the window.

    The convolutions see the order of sounds over about one second (9 frames of 40 ms, then 9 frames at
    twice the spacing). The pool is log-mean-exp over frames: a soft maximum, so that a window is positive
    when the phrase is anywhere inside, and a label for the whole window is all that training needs.
    """

    def __init__(self, width: int, n_phrases: int, config: HeadConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.reduce = nn.Linear(width, config.hidden)
        pad = config.kernel // 2
        self.conv1 = nn.Conv1d(config.hidden, config.hidden, config.kernel, padding=pad)
        self.conv2 = nn.Conv1d(config.hidden, config.hidden, config.kernel, padding=2 * pad, dilation=2)
        self.drop = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, n_phrases)
        nn.init.constant_(self.output.bias, -4.0)  # most windows hold no phrase

    def frame_logits(self, frames: Tensor) -> Tensor:
        """Score every frame. frames [B, F, D] -> logits [B, F, K]."""
        x = nn.functional.gelu(self.reduce(self.norm(frames)))
        x = self.drop(x).transpose(1, 2)
        x = nn.functional.gelu(self.conv1(x))
        x = self.drop(nn.functional.gelu(self.conv2(x)) + x)
        logits: Tensor = self.output(x.transpose(1, 2))
        return logits

    def forward(self, frames: Tensor) -> Tensor:
        """Score the window. frames [B, F, D] at 25 Hz -> logits [B, K]."""
        logits = self.frame_logits(frames)
        peak = logits.amax(dim=1, keepdim=True)
        return (peak + (logits - peak).exp().mean(dim=1, keepdim=True).log()).squeeze(1)


def pool_frames(frames: Tensor, factor: int) -> Tensor:
    """Average groups of `factor` frames, dropping a last incomplete one. [B, F, D] -> [B, F // factor, D]."""
    if factor == 1:
        return frames
    return torch.nn.functional.avg_pool1d(frames.transpose(1, 2), factor).transpose(1, 2)
