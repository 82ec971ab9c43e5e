"""Two opinions on one window: the head's, which was trained, and the recogniser's, which was told the text.

A head that has heard synthetic voices only has yet to hear a real one; the recogniser has heard hundreds of
thousands of hours of them, and was never told that this phrase matters.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from wakeword.train.decoder import PhraseScorer
from wakeword.train.head import pool_frames
from wakeword.train.model import WakewordNet


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How the opinions are added up. Set by hand; `benchmarks/text_only.py --split dev` is to choose."""

    weight: float = 0.5
    """Log-odds for each nat of the recogniser's log-probability."""
    floor: float = -12.0
    """Log-probability below which the recogniser counts as not having heard; finite, so that a head that is
    certain is not overruled."""
    listen_s: float = 1.4
    """Seconds at the end of the window that the recogniser attends to: what was said before the phrase would
    begin the transcript."""


class FusedNet(WakewordNet):
    """A trained net whose logits hold the recogniser's opinion too; exported as any other."""

    def __init__(self, net: WakewordNet, scorer: PhraseScorer, fusion: Fusion) -> None:
        nn.Module.__init__(self)
        self.phrases, self.pool = net.phrases, net.pool
        self.encoder, self.head, self.log_mel = net.encoder, net.head, net.log_mel
        self.scorer, self.fusion = scorer, fusion
        self.listened = round(fusion.listen_s * net.encoder.frame_hz)

    def opinions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The head's logits [B, K] and the recogniser's log-probabilities [B, K], encoding x once."""
        frames = self.encoder(x)
        return self.head(self.pooled(frames)), self.read(frames)

    def pooled(self, frames: Tensor) -> Tensor:
        """The encoder's frames as the head takes them."""
        return pool_frames(frames, self.pool)

    def read(self, frames: Tensor) -> Tensor:
        """The recogniser's log-probabilities [B, K] from the encoder's frames [B, F, D]."""
        text: Tensor = self.scorer(frames[:, -self.listened :])
        return text

    def fuse(self, logits: Tensor, text: Tensor) -> Tensor:
        """Both opinions as logits [B, K]."""
        return logits + self.fusion.weight * text.clamp(min=self.fusion.floor)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of windows [B, 80, T] -> [B, K]."""
        return self.fuse(*self.opinions(x))
