"""What training windows are cut from: recordings in memory, and the windows planned of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword.audio import as_int16, read_audio
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.dataset import Clip
from wakeword.clips.drop import DropList
from wakeword.clips.gather import Recordings
from wakeword.config import TrainConfig
from wakeword.machine import processors
from wakeword.train.model import window_samples
from wakeword.train.windows import WindowSet, plan_windows

DEV_SHARE = 8
"""Windows of background for dev: one for so many of train."""


@dataclass(frozen=True)
class Sounds:
    """Background in memory, as int16: an hour takes 115 MB."""

    speech: list[npt.NDArray[np.int16]]
    noise: list[npt.NDArray[np.int16]]
    """Noise and music."""

    @classmethod
    def read(cls, clips: Sequence[Clip], drop: DropList) -> Sounds:
        """All of them, in threads; what is dropped is silent."""
        with ThreadPoolExecutor(processors()) as pool:
            samples = list(
                pool.map(lambda clip: as_int16(drop.mute(clip.path, read_audio(clip.path))), clips)
            )
        talks = [clip.kind == "speech" for clip in clips]
        return cls(
            [s for s, talk in zip(samples, talks, strict=True) if talk],
            [s for s, talk in zip(samples, talks, strict=True) if not talk],
        )

    def all(self) -> list[npt.NDArray[np.int16]]:
        """Speech, then noise."""
        return [*self.speech, *self.noise]


def cut_from(recordings: Recordings, drop: DropList) -> dict[str, Any]:
    """All recordings that windows are cut from, and what is silent in them, for a cache's key."""
    parts = (recordings.clips, recordings.background, recordings.near)
    files = [str(clip.path) for part in parts for clips in part.values() for clip in clips]
    return {
        "files": files,
        "silent": [[str(path), *stretches] for path, stretches in sorted(drop.stretches.items())],
    }


def windows_of(split: str, recordings: Recordings, sounds: Sounds, settings: TrainConfig) -> WindowSet:
    """The windows of train or dev, in augmented surroundings of that split's background."""
    augmenter = Augmenter(AugmentConfig(), sounds.noise, sounds.speech, window_samples(settings.window_s))
    data = settings.data
    train = split == "train"
    return plan_windows(
        recordings.clips[split],
        recordings.phrases,
        augmenter,
        versions=data.versions if train else data.dev_versions,
        negatives=data.negatives // (1 if train else DEV_SHARE),
        seed=settings.seed if train else settings.seed + 1,
        near=recordings.near[split],
        broken=data.broken if train else min(data.broken, 1),
        extra=recordings.joined,
    )
