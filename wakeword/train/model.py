"""The verifier network: a pretrained encoder with a new head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wakeword.audio import FRAME_SAMPLES, SAMPLE_RATE
from wakeword.config import HeadConfig, TrainConfig, build_config
from wakeword.errors import TrainingError
from wakeword.mel import n_samples
from wakeword.train.checkpoint import load_checkpoint, save_checkpoint
from wakeword.train.encoders import Encoder, load_encoder
from wakeword.train.frontend import LogMel
from wakeword.train.head import HEAD_HZ, Head, pool_factor, pool_frames

MEL_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE
MEL_PER_HEAD_FRAME = round(1 / (HEAD_HZ * MEL_FRAME_S))


class WakewordNet(nn.Module):
    """What is trained and exported: windows in, one logit per phrase out."""

    def __init__(self, encoder: Encoder, phrases: Sequence[str], config: HeadConfig) -> None:
        super().__init__()
        self.phrases = tuple(phrases)
        self.encoder = encoder
        self.head = Head(encoder.width, len(self.phrases), config)
        self.log_mel = LogMel()
        self.pool = pool_factor(encoder.frame_hz)

    def features(self, x: Tensor) -> Tensor:
        """Encoder output at the head's frame rate. mel [B, 80, T] or audio [B, N] -> [B, F, D]."""
        return pool_frames(self.encoder(x), self.pool)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of windows. mel [B, 80, T] or audio [B, N], as `encoder.input` says -> [B, K]."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def encoder_input(self, audio: Tensor) -> Tensor:
        """What the encoder takes, from audio [B, N]: log-mel [B, 80, T] or the audio itself."""
        mel: Tensor = self.log_mel(audio) if self.encoder.input == "mel" else audio
        return mel


class Lower(nn.Module):
    """What the last `top` blocks of a net's encoder are given: that of its features which does not change."""

    def __init__(self, net: WakewordNet, top: int) -> None:
        super().__init__()
        self.net, self.top = net, top

    def encoder_input(self, audio: Tensor) -> Tensor:
        """The net's."""
        return self.net.encoder_input(audio)

    def features(self, x: Tensor) -> Tensor:
        """mel [B, 80, T] -> [B, F, D]."""
        return self.net.encoder.below(x, self.top)


class Upper(nn.Module):
    """The last `top` blocks of a net's encoder and its head, for windows as `Lower` leaves them."""

    def __init__(self, net: WakewordNet, top: int) -> None:
        super().__init__()
        self.net, self.top = net, top

    def encoder_input(self, x: Tensor) -> Tensor:
        """The same."""
        return x

    def features(self, x: Tensor) -> Tensor:
        """The net's features. [B, F, D] -> [B, F // 2, D]."""
        return pool_frames(self.net.encoder.above(x, self.top), self.net.pool)

    def forward(self, x: Tensor) -> Tensor:
        """Logits. [B, F, D] -> [B, K]."""
        logits: Tensor = self.net.head(self.features(x))
        return logits


def build_net(phrases: Sequence[str], config: TrainConfig, weights: Path | None = None) -> WakewordNet:
    """A net with pretrained encoder and a new head for these phrases, drawn from `config.seed`."""
    encoder = load_encoder(config.encoder, config.blocks or None, weights)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(config.seed)
        return WakewordNet(encoder, phrases, config.head)


def save_net(net: WakewordNet, settings: TrainConfig, folder: Path, told: Sequence[str] = ()) -> None:
    """Keep what training changed: the head, and the encoder weights that were not frozen.

    `told` are the phrases of which the recogniser has a say (see `wakeword.train.fusion`).
    """
    tensors = {n: p for n, p in net.named_parameters() if p.requires_grad}
    about = {"phrases": net.phrases, "settings": asdict(settings), "told": list(told)}
    save_checkpoint(folder, tensors, about)


def load_net(folder: Path, weights: Path | None = None) -> tuple[WakewordNet, TrainConfig]:
    """The net that `save_net` kept, on top of its pretrained encoder, and its settings."""
    return net_of(*load_checkpoint(folder), folder, weights)


def net_of(
    tensors: Mapping[str, Tensor], meta: Mapping[str, Any], folder: Path, weights: Path | None = None
) -> tuple[WakewordNet, TrainConfig]:
    """The same of a checkpoint that was read from `folder` already."""
    settings = build_config(TrainConfig, meta["settings"], str(folder))
    net = build_net(meta["phrases"], settings, weights)
    if unknown := net.load_state_dict(tensors, strict=False).unexpected_keys:
        raise TrainingError(f"{folder}: holds a tensor this version does not know: {unknown[0]}")
    return net.eval(), settings


def window_frames(window_s: float) -> int:
    """Log-mel frames of a window of about that many seconds: whole frames of the head, so none is dropped."""
    return round(window_s / MEL_FRAME_S) // MEL_PER_HEAD_FRAME * MEL_PER_HEAD_FRAME


def window_samples(window_s: float) -> int:
    """Samples under the window."""
    return n_samples(window_frames(window_s))


def window_columns(encoder: Encoder, window_s: float) -> int:
    """The window as the verifier counts it: log-mel frames or samples."""
    return window_frames(window_s) if encoder.input == "mel" else window_samples(window_s)
