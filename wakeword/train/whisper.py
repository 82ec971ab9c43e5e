"""Whisper's audio encoder (Radford et al. 2022, https://arxiv.org/abs/2212.04356), for windows of any length.

Modules and parameters carry the names of OpenAI's checkpoints, so their tensors load as they are. The
position table is computed, not stored: it holds no learnt value, and this way any window fits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword.train.encoders import Encoder, EncoderSpec
from wakeword.train.frontend import normalise

MAX_PERIOD = 10_000.0


def sinusoids(n_positions: int, width: int, device: torch.device) -> Tensor:
    """Position table [F, D]: sines, then cosines, at D / 2 rates from 1 to 1 / 10,000 radian per frame."""
    half = width // 2
    step = math.log(MAX_PERIOD) / (half - 1)
    rates = torch.exp(-step * torch.arange(half, dtype=torch.float32, device=device))
    phase = torch.arange(n_positions, dtype=torch.float32, device=device)[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class Attention(nn.Module):
    """Positions attend to each other or to others. The key has no bias: it could not change a softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x [B, T, D] attends to source [B, S, D] (None = itself), mask [T, S] added."""
        B, T, D = x.shape
        source = x if source is None else source
        q, k, v = (self._split(y) for y in (self.query(x), self.key(source), self.value(source)))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # [B, heads, T, D / heads]
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, D] -> [B, F, D]."""
        x = x + self.attn(self.attn_ln(x))
        out: Tensor = x + self.mlp(self.mlp_ln(x))
        return out


class WhisperEncoder(Encoder):
    """Log-mel windows in, frames at 50 Hz out. The closing layer norm is kept at any depth.

    Whisper was trained on 30 s; longer windows are computed, but are nothing it has seen.
    """

    input = "mel"
    divides = True

    def __init__(self, spec: EncoderSpec, n_blocks: int, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Build the first `n_blocks` blocks, from `wakeword.train.weights.encoder_tensors` or at random."""
        super().__init__(spec, n_blocks, spec.width)
        D = spec.width
        self.conv1 = nn.Conv1d(spec.n_mels, D, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(D, D, kernel_size=3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(D, spec.heads) for _ in range(n_blocks))
        self.ln_post = nn.LayerNorm(D)
        if tensors is not None:
            self.load_state_dict({name: tensors[name] for name in self.state_dict()})

    def forward(self, x: Tensor) -> Tensor:
        """Unnormalised log-mel [B, 80, T] -> [B, ceil(T / 2), D]."""
        return self.encode_normalised(normalise(x))

    def encode_normalised(self, mel: Tensor) -> Tensor:
        """Log-mel already scaled as Whisper's [B, 80, T] -> [B, ceil(T / 2), D]."""
        return self.above(self._below(mel, self.n_blocks), self.n_blocks)

    def below(self, x: Tensor, top: int) -> Tensor:
        """Unnormalised log-mel [B, 80, T] -> what the last `top` blocks are given [B, ceil(T / 2), D]."""
        return self._below(normalise(x), top)

    def _below(self, mel: Tensor, top: int) -> Tensor:
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + sinusoids(x.shape[1], self.width, x.device)
        for block in self.blocks[: self.n_blocks - top]:
            x = block(x)
        return x

    def above(self, x: Tensor, top: int) -> Tensor:
        """The last `top` blocks and the closing norm [B, F, D] -> [B, F, D]."""
        for block in self.blocks[self.n_blocks - top :]:
            x = block(x)
        out: Tensor = self.ln_post(x)
        return out

    def stem(self) -> list[nn.Parameter]:
        """The two convolutions over the log-mel."""
        return [*self.conv1.parameters(), *self.conv2.parameters()]

    def layers(self) -> Sequence[nn.Module]:
        """The transformer blocks, in order."""
        return list(self.blocks)
