"""Who speaks: a voice of a speech engine, and the person behind it.

A person (a throat) may lend its voice to several engines; it belongs to train, dev or test with all of
them, so that no voice is in two splits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wakeword.clips.dataset import SPLITS, Split, split_of

SPLIT_SHARE: dict[Split, float] = {"train": 0.70, "dev": 0.15, "test": 0.15}
"""Of the clips of a phrase."""
THROATS: dict[str, Split] = {
    "heart": "train",
    "joe": "train",
    "slt": "train",
    "rms": "train",
    "kal": "train",
    "awb": "dev",
    "ked": "test",
}
"""The few that are human and come with the engines: most of them to learn from."""
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Voice:
    """One voice of one engine."""

    engine: str
    name: str
    """As the engine calls it."""
    language: str
    """Tag such as "en-us", lower case."""
    throat: str
    """The person it was made from."""
    licence: str = ""

    @property
    def key(self) -> str:
        """A name for files and folders, unique among all voices."""
        return f"{self.engine}.{self.name}".replace("/", "_")

    @property
    def split(self) -> Split:
        """Where clips of this voice belong."""
        return THROATS.get(self.throat) or split_of(self.throat)


@dataclass(frozen=True)
class Style:
    """How a voice is to say something."""

    pace: float = 1.0
    """Times the engine's usual pace."""
    pitch: float = 0.5
    """0 low to 1 high; espeak-ng alone obeys it, the others are shifted afterwards."""
    pause_s: float = 0.0
    """Added between words; espeak-ng alone obeys it."""
    seed: int = 0
    """For the engines that draw noise of their own."""


def cast(weights: dict[Voice, float], n: int, rng: np.random.Generator) -> list[Voice]:
    """Choose a voice for each of n clips: 70/15/15 by split, within a split by weight.

    The first clips are the same whatever n is, and any run of clips holds all kinds of voices.
    """
    voices = sorted(weights, key=lambda v: (SPLITS.index(v.split), v.engine, v.name))
    voices = [
        v for _, v in sorted(zip(_shuffled_within(voices, rng), voices, strict=True), key=lambda p: p[0])
    ]
    totals = {split: sum(w for v, w in weights.items() if v.split == split) for split in SPLITS}
    shares = np.array([SPLIT_SHARE[v.split] * weights[v] / totals[v.split] for v in voices])
    edges = np.cumsum(shares / shares.sum())
    at = (rng.random() + GOLDEN * np.arange(n)) % 1
    chosen = np.minimum(np.searchsorted(edges, at, side="right"), len(voices) - 1)
    return [voices[int(i)] for i in chosen]


def _shuffled_within(voices: list[Voice], rng: np.random.Generator) -> list[tuple[int, str, float]]:
    """Sort keys that keep split and engine together and shuffle the voices inside."""
    return [
        (SPLITS.index(v.split), v.engine, float(u))
        for v, u in zip(voices, rng.random(len(voices)), strict=True)
    ]
