"""Sounds that a small network soon tells apart, and how to train one: two phrases of tones, and a murmur."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples, write_wav


def chirp(hz: float = 500.0, pace: float = 1.0) -> Samples:
    """A tone that rises by two octaves."""
    t = np.arange(int(0.5 * SAMPLE_RATE / pace)) / SAMPLE_RATE * pace
    return (0.3 * np.sin(2 * np.pi * hz / pace * (t + 3 * t**2))).astype(np.float32)


def beeps(hz: float = 900.0, pace: float = 1.0) -> Samples:
    """High, low, high, each a tenth of a second."""
    t = np.arange(int(0.1 * SAMPLE_RATE / pace)) / SAMPLE_RATE
    gap = np.zeros(len(t) // 2, dtype=np.float32)
    tones = [np.sin(2 * np.pi * hz * factor * t) for factor in (2, 1, 2)]
    return 0.3 * np.concatenate([tones[0], gap, tones[1], gap, tones[2]]).astype(np.float32)


SOUNDS: dict[str, Callable[[float, float], Samples]] = {
    "rising tone": lambda r, p: chirp(500 * r, p),
    "three beeps": lambda r, p: beeps(900 * r, p),
}

SETTINGS = """
blocks = 1
window_s = 1.2
[data]
versions = 4
negatives = 160
mining_pool = 40
mining_kept = 4
near = 0
synthetic = 0
[head]
hidden = 32
[optim]
epochs = 8
batch = 32
learning_rate = 5e-3
averaging = 0.8
"""
"""Of a small training, but for its student's part."""


def padded(clip: Samples, rng: np.random.Generator) -> Samples:
    hiss = (1e-4 * rng.standard_normal(len(clip) + 8_000)).astype(np.float32)
    hiss[4_000 : 4_000 + len(clip)] += clip
    return hiss


def murmur(seconds: float, seed: int) -> Samples:
    """Background: hums and rustles that rise and fall like talk, without any of the tones."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * h * rng.uniform(90, 200) * t) / h for h in range(1, 8))
    rustle = np.convolve(rng.standard_normal(len(t)), np.ones(5) / 5, mode="same")
    swell = np.interp(t, np.arange(0, seconds + 1, 0.25), rng.random(len(np.arange(0, seconds + 1, 0.25))))
    return (0.08 * swell * hum + 0.08 * (1 - swell) * rustle).astype(np.float32)


def write_recordings(folder: Path, speakers: int = 8, backgrounds: int = 10) -> None:
    """`clips/<phrase>/<speaker>/<take>.wav`, two takes of each, and `background/speech` of 20 s each."""
    rng = np.random.default_rng(5)
    for phrase, make in SOUNDS.items():
        for speaker in range(speakers):
            place = folder / "clips" / phrase.replace(" ", "_") / f"speaker{speaker}"
            place.mkdir(parents=True)
            for take in range(2):
                clip = make(0.9 + speaker / 35, rng.uniform(0.9, 1.1))
                write_wav(place / f"{take}.wav", padded(clip, rng))
    (folder / "background" / "speech").mkdir(parents=True)
    for i in range(backgrounds):
        write_wav(folder / "background" / "speech" / f"{i}.wav", murmur(20.0, 100 + i))


def train_order(recordings: Path, out: Path, *more: str) -> list[str]:
    """`wakeword train` on what `write_recordings` wrote, by the `settings.toml` beside it."""
    data = ["--clips", str(recordings / "clips"), "--background", str(recordings / "background")]
    how = ["--config", str(recordings / "settings.toml"), "--device", "cpu", "--out", str(out)]
    return ["train", *SOUNDS, *data, *how, *more]
