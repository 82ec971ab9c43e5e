"""A verifier that is real but small and random, its bundle, and sounds that make it fire."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from export.pack import draft_bundle, export_verifier
from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.bundle import Bundle, Threshold, save_bundle
from wakeword.config import HeadConfig, TrainConfig
from wakeword.decision import DecisionConfig
from wakeword.mel import log_mel
from wakeword.train.encoders import ENCODERS
from wakeword.train.model import WakewordNet, window_columns
from wakeword.train.whisper import WhisperEncoder

PHRASES = ("hey nova", "lights on")
SPEC = replace(ENCODERS["tiny"], name="small-random", width=32, blocks=2, heads=2)
HEAD = HeadConfig(hidden=16, kernel=5, dropout=0.1)
CONFIG = TrainConfig(window_s=1.0, head=HEAD, decision=DecisionConfig(refractory_s=0.5, rearm_ratio=0.9))


def tiny_net(slope: float = 300.0, seed: int = 1) -> WakewordNet:
    """A random net whose posteriors move about with the sound; the greater `slope`, the more."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = WakewordNet(WhisperEncoder(SPEC, SPEC.blocks), PHRASES, HEAD)
    net.eval()
    with torch.no_grad():
        net.head.output.weight.mul_(slope)
        net.head.output.bias.zero_()
        net.head.output.bias.sub_(net(torch.from_numpy(windows(32, net))).median(dim=0).values)
    return net


def sounds(seconds: float, seed: int = 1) -> Samples:
    """Chirps, buzzes, hisses and pauses in random order; float32, mono, 16 kHz."""
    rng = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
        t = np.arange(int(rng.uniform(0.1, 0.6) * SAMPLE_RATE)) / SAMPLE_RATE
        low, rise, level = rng.uniform(100, 2_000), rng.uniform(-1_000, 4_000), rng.uniform(0.02, 0.5)
        chirp = np.sin(2 * np.pi * (low * t + rise * t**2))
        hiss = rng.standard_normal(len(t)) / 3
        pieces.append(level * [chirp, np.sign(chirp), hiss, np.zeros_like(t)][rng.integers(4)])
    return np.clip(np.concatenate(pieces)[: int(seconds * SAMPLE_RATE)], -1, 1).astype(np.float32)


def windows(n: int, net: WakewordNet, seed: int = 2) -> np.ndarray:
    """Encoder inputs of a tiny net [n, 80, T], cut from sounds."""
    columns = window_columns(net.encoder, CONFIG.window_s)
    mel = log_mel(sounds(2.0 + n / 2, seed))
    return np.stack([mel[:, 50 * i : 50 * i + columns] for i in range(n)])


def tiny_bundle(value: float = 0.5) -> Bundle:
    """The tiny net exported, with two operating points set by hand."""
    net = tiny_net()
    _, int8, _ = export_verifier(net, windows(8, net), {"phrases": net.phrases})
    draft = draft_bundle(net, int8, "tiny", CONFIG, {"policy": "none"})
    points = {"0.5": Threshold(value, False), "2": Threshold(value / 2, True)}
    manifest = replace(draft.manifest, thresholds=dict.fromkeys(PHRASES, points))
    return replace(draft, manifest=manifest)


def save_tiny(path: Path) -> Path:
    """Write the tiny bundle."""
    save_bundle(path, tiny_bundle())
    return path
