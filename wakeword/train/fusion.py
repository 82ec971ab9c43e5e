"""Two opinions on one window: the head's, which was trained, and the recogniser's, which was told the text.

A head that has heard synthetic voices only has yet to hear a real one; the recogniser has heard hundreds of
thousands of hours of them, and was never told that this phrase matters. Where recordings are few the
recogniser's word therefore counts more, if it knows the phrase: it writes "smart mirror" and "alexa" as they
are spelt, "hey nova" three times in four as something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wakeword.audio import read_clip
from wakeword.clips.augment import place
from wakeword.clips.dataset import Clip
from wakeword.config import TrainConfig
from wakeword.errors import EncoderError, UsageError
from wakeword.train.checkpoint import load_checkpoint
from wakeword.train.decoder import PhraseScorer, Recogniser, load_recogniser
from wakeword.train.encoders import Encoder
from wakeword.train.head import pool_frames
from wakeword.train.model import WakewordNet, net_of, window_samples

VOCABULARY = 4_000
"""Tokens that compete with the phrase's own: the most frequent. All 50,000 take 19 MB more."""
KNOWN_CLIPS, KNOWN_LOG_PROBABILITY, KNOWN_SHARE = 40, -4.0, 0.5
"""A phrase is known that is found with this log-probability in this share of so many clips of it. Of 60
synthetic clips: alexa 77 %, computer 100, jarvis 88, smart mirror 88, hey nova 27."""
LETTERS_PER_S, AROUND_S = 15.0, 0.6
"""How fast the slower speak, and how much longer than a phrase the recogniser attends."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How the opinions are added up.

    Chosen on real people of the corpus's dev split, with detectors made from text alone: at one false accept
    in 1.4 h they missed 18 / 27 % by the head alone (clean / 10 dB), 4.5 / 12.4 % by the recogniser alone,
    4.5 / 11.9 % by both and 4.5 / 8.6 % with the student's evidence; `benchmarks/text_only.py` has the test.
    """

    head: float = 0.25
    """Weight of the head's logits."""
    recogniser: float = 1.0
    """Log-odds for each nat of the recogniser's log-probability."""
    centre: float = -6.0
    """Log-probability that is worth log-odds of 0."""
    floor: float = -12.0
    """Log-probability below which the recogniser counts as not having heard; finite, so that a head that is
    certain is not overruled."""
    listen_s: float = 1.4
    """Seconds at the end of the window that the recogniser attends to: what was said before the phrase would
    begin the transcript."""


def fusion_for(phrases: Sequence[str]) -> Fusion:
    """The default, but that the recogniser attends long enough for the longest of these phrases."""
    longest_s = max(map(len, phrases)) / LETTERS_PER_S + AROUND_S
    return Fusion(listen_s=max(Fusion.listen_s, longest_s))


def choose_recogniser(settings: TrainConfig, encoder: Encoder, few: bool) -> tuple[Recogniser | None, str]:
    """The recogniser that is to have a say, as `settings.recogniser` has it; or None, and why not if wanted.

    Args:
        settings: of the training.
        encoder: pretrained; the recogniser is the one that it comes from.
        few: whether recordings of a phrase are few, where "auto" means yes.

    Raises UsageError where one is asked for that there is not, or that would not know the encoder any more.
    """
    wanted = settings.recogniser
    if wanted == "off" or (wanted == "auto" and not few):
        return None, ""
    try:
        _require_same_ears(settings, encoder)
        return load_recogniser(encoder.spec.name), ""
    except (EncoderError, UsageError) as err:
        if wanted == "on":
            raise UsageError(f"recogniser = 'on': {err}") from err
        return None, f"no recogniser has a say, which would help where recordings are few: {err}"


def _require_same_ears(settings: TrainConfig, encoder: Encoder) -> None:
    if settings.language not in encoder.spec.languages:
        known = ", ".join(encoder.spec.languages)
        raise UsageError(f"{encoder.spec.name} knows {known}, not {settings.language}")
    if encoder.n_blocks != encoder.spec.blocks or settings.tune not in ("auto", "head"):
        raise UsageError("it needs the encoder as it was: blocks = 0, and tune = 'auto' or 'head'")


class FusedNet(WakewordNet):
    """A trained net whose logits hold the recogniser's opinion too; exported as any other.

    Of the phrases that the recogniser is told, that is; of others the head alone decides.
    """

    def __init__(self, net: WakewordNet, scorer: PhraseScorer, told: Sequence[str], fusion: Fusion) -> None:
        nn.Module.__init__(self)
        self.columns = [net.phrases.index(phrase) for phrase in told]
        self.phrases, self.pool = net.phrases, net.pool
        self.encoder, self.head, self.log_mel = net.encoder, net.head, net.log_mel
        self.scorer, self.fusion = scorer, fusion
        self.listened = round(fusion.listen_s * net.encoder.frame_hz)

    def opinions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The head's logits [B, K] and the recogniser's log-probabilities [B, told], encoding x once."""
        frames = self.encoder(x)
        return self.head(self.pooled(frames)), self.read(frames)

    def pooled(self, frames: Tensor) -> Tensor:
        """The encoder's frames as the head takes them."""
        return pool_frames(frames, self.pool)

    def read(self, frames: Tensor) -> Tensor:
        """The recogniser's log-probabilities [B, told] from the encoder's frames [B, F, D]."""
        text: Tensor = self.scorer(frames[:, -self.listened :])
        return text

    def fuse(self, logits: Tensor, text: Tensor) -> Tensor:
        """Both opinions as logits [B, K]."""
        fusion, columns = self.fusion, list(logits.unbind(dim=1))
        heard = fusion.recogniser * (text.clamp(min=fusion.floor) - fusion.centre)
        for i, k in enumerate(self.columns):
            columns[k] = fusion.head * columns[k] + heard[:, i]
        return torch.stack(columns, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of windows [B, 80, T] -> [B, K]."""
        return self.fuse(*self.opinions(x))


def known_phrases(
    net: WakewordNet, recogniser: Recogniser, clips: Sequence[Clip], window_s: float
) -> tuple[str, ...]:
    """Those of the net's phrases that the recogniser finds in clips of them, more often than not."""
    told = [phrase for phrase in net.phrases if any(clip.label == phrase for clip in clips)]
    fused, known = with_recogniser(net, recogniser, told), list[str]()
    for i, phrase in enumerate(told):
        of_phrase = [clip for clip in clips if clip.label == phrase]
        chosen = of_phrase[:: -(-len(of_phrase) // KNOWN_CLIPS)]
        rng = np.random.default_rng(len(chosen))
        windows = [place(read_clip(clip.path), window_samples(window_s), rng)[0] for clip in chosen]
        with torch.inference_mode():
            x = fused.encoder_input(torch.from_numpy(np.stack(windows)))
            found = fused.read(fused.encoder(x))[:, i] >= KNOWN_LOG_PROBABILITY
        if float(found.float().mean()) >= KNOWN_SHARE:
            known.append(phrase)
    return tuple(known)


def load_verifier(folder: Path, weights: Path | None = None) -> tuple[WakewordNet, TrainConfig]:
    """What `save_net` kept, as `load_net` gives it, with the recogniser's opinion where it had that."""
    tensors, meta = load_checkpoint(folder)
    net, settings = net_of(tensors, meta, folder, weights)
    told = meta.get("told", ())
    return (with_recogniser(net, load_recogniser(net.encoder.spec.name), told) if told else net), settings


def with_recogniser(net: WakewordNet, recogniser: Recogniser, told: Sequence[str]) -> FusedNet:
    """The net with the recogniser's opinion of these phrases, in evaluation mode."""
    scorer = PhraseScorer(recogniser, told, VOCABULARY).to(next(net.parameters()).device)
    return FusedNet(net, scorer, told, fusion_for(told)).eval()
