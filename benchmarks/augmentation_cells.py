"""One cell of augmentation.py: how its windows are made, and what a head that learns from them misses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cells import file_name, study_folder
from subset import PHRASES
from transfer_cells import judge_scores, posteriors, train_head
from transfer_data import (
    ENCODER,
    Features,
    Recordings,
    Settings,
    StreamRows,
    augmenter,
    cached,
    load_streams,
    plan_split,
    recordings,
)

from export.quick_features import QuickFeatures
from wakeword.clips.augment import DEFAULT_AUGMENTATION, AugmentConfig
from wakeword.config import DistillConfig, TrainConfig
from wakeword.train.distill import stretched
from wakeword.train.features import FromKept, MelOnly, block_of
from wakeword.train.model import build_net, window_samples
from wakeword.train.windows import WindowSet

BLOCKS = 4
"""Of the encoder: all."""
DEV_SEED = 0
"""No cell's: the dev windows are the same for all."""
ONE_LEVEL_DBFS = -25.0
STUDENT = DistillConfig()
"""Its training hides stripes and varies voices; as wide here."""

Mel = npt.NDArray[np.float32]
"""Of one window [80, T]."""


def with_stripes(mel: Mel, rng: np.random.Generator) -> Mel:
    """A stripe of bands and one of frames hidden: they take the window's mean."""
    hidden: Mel = mel.copy()
    for part, widest in ((hidden, STUDENT.mask_bands), (hidden.T, STUDENT.mask_frames)):
        width = int(rng.integers(widest + 1))
        start = int(rng.integers(len(part) - width + 1))
        part[start : start + width] = mel.mean()
    return hidden


def with_other_voice(mel: Mel, rng: np.random.Generator) -> Mel:
    """Bands spread or squeezed, as by another length of vocal tract."""
    factor = rng.uniform(1 - STUDENT.voice_warp, 1 + STUDENT.voice_warp, 1)
    warped: Mel = stretched(torch.from_numpy(mel)[None], 0, factor)[0].numpy()
    return warped


@dataclass(frozen=True)
class Recipe:
    """How training windows are made; the fields' defaults are what `wakeword train` does."""

    name: str
    config: AugmentConfig = DEFAULT_AUGMENTATION
    on_mel: Callable[[Mel, np.random.Generator], Mel] | None = None
    """What is done to the log-mel of each."""


def _changed(name: str, **values: float) -> Recipe:
    return Recipe(name, replace(DEFAULT_AUGMENTATION, **values))  # type: ignore[arg-type]


AS_TRAINED = Recipe("as trained")
NOTHING = _changed(
    "nothing but place and level",
    p_clean=1.0,
    p_negative_noise=0.0,
    p_fragment=0.0,
    p_room=0.0,
    p_equalise=0.0,
    p_telephone=0.0,
    p_overdriven=0.0,
)
SWITCHED_OFF = (
    _changed("no noise laid over", p_noise=0.0, p_negative_noise=0.0),
    _changed("no babble", p_babble=0.0),
    _changed("no recorded noise or music", p_coloured=1.0),
    _changed("no SNR under 5 dB", p_low_snr=0.0),
    _changed("no rooms", p_room=0.0),
    _changed("no other speeds", p_speed=0.0),
    _changed("no talk or noise before and after", p_fill=0.0),
    _changed("no equalising", p_equalise=0.0),
    _changed("no telephone band", p_telephone=0.0),
    _changed("no overdriving", p_overdriven=0.0),
    _changed("no other levels", min_level_dbfs=ONE_LEVEL_DBFS, max_level_dbfs=ONE_LEVEL_DBFS),
    _changed("no fragments among negatives", p_fragment=0.0),
    _changed("no clips left clean", p_clean=0.0),
)
ADDED = (
    _changed("SNR from -5 dB", min_snr_db=-5.0),
    _changed("half at low SNR", p_low_snr=0.5),
    Recipe("hidden stripes", on_mel=with_stripes),
    Recipe("other vocal tracts", on_mel=with_other_voice),
    _changed("speeds from 0.8 to 1.2", min_speed=0.8, max_speed=1.2),
)
RECIPES = (AS_TRAINED, NOTHING, *SWITCHED_OFF, *ADDED)


@dataclass(frozen=True)
class Cell:
    """A recipe with a seed, which draws the windows and the first weights."""

    recipe: Recipe
    seed: int
    epochs: int = 6

    def name(self) -> str:
        """Of its file."""
        return file_name(self.recipe.name, self.epochs, self.seed)


class MelRows:
    """Windows as log-mel, with what a recipe does to it."""

    def __init__(self, windows: WindowSet, recipe: Recipe) -> None:
        self._windows, self._recipe, self._log_mel = windows, recipe, MelOnly()

    def __len__(self) -> int:
        return len(self._windows)

    def render(self, i: int, epoch: int = 0) -> Mel:
        """Log-mel of window i [80, T]."""
        samples = torch.from_numpy(self._windows.render(i, epoch))
        mel: Mel = self._log_mel.encoder_input(samples[None])[0].numpy()
        if self._recipe.on_mel is None:
            return mel
        return self._recipe.on_mel(mel, np.random.default_rng([self._windows.seed, epoch, i, 1]))


def folder_of(settings: Settings) -> Path:
    """Where the cells, and the features that they share, are kept."""
    return study_folder("augmentation", settings)


def prepare(settings: Settings) -> None:
    """Compute what all cells share: features of the streams, and of the dev windows."""
    streams, folder = load_streams(settings), folder_of(settings)
    for name, part in streams.items():
        cached(_encoder(), StreamRows(part, settings.stride), _features_path(folder, name))
    windows = plan(settings, "dev", AS_TRAINED, DEV_SEED)
    cached(_encoder(), MelRows(windows, AS_TRAINED), _features_path(folder, "dev"))
    np.save(folder / "dev-targets.npy", windows.targets)


def run_cell(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Make its windows, train a head on them and judge it on the streams."""
    torch.set_num_threads(1)
    start = time.monotonic()
    windows, streams, folder = (
        plan(settings, "train", cell.recipe, cell.seed),
        load_streams(settings),
        folder_of(settings),
    )
    features = {name: np.load(_features_path(folder, name), mmap_mode="r") for name in ("dev", *streams)}
    inputs = {"train": features_of(MelRows(windows, cell.recipe)), "dev": np.asarray(features["dev"])}
    targets = {"train": windows.targets, "dev": np.load(folder / "dev-targets.npy")}
    made_s = time.monotonic() - start
    head, history = train_head(inputs, targets, kept=BLOCKS, epochs=cell.epochs, seed=cell.seed)
    scores = {name: posteriors(head, features[name]) for name in streams}
    return {
        **judge_scores(streams, scores, settings.stride),
        "dev_loss": min(history.dev_loss),
        "windows_s": made_s,
        "seconds": time.monotonic() - start,
    }


def plan(settings: Settings, split: str, recipe: Recipe, seed: int) -> WindowSet:
    """The windows of a split by a recipe."""
    around = augmenter(recipe.config, *_recordings(settings, split))
    return plan_split(settings, split, around, seed)


def features_of(rows: MelRows) -> Features:
    """What the encoder makes of all windows, in this process and kept nowhere [N, F, D]."""
    first = block_of(_encoder(), rows, np.asarray([0]))[0]
    features = np.empty((len(rows), *first.shape), dtype=np.float16)  # thousands of small ones would scatter
    for i in range(len(rows)):
        features[i] = block_of(_encoder(), rows, np.asarray([i]))[0]
    return features


@lru_cache(1)  # a process runs many cells
def _recordings(settings: Settings, split: str) -> tuple[Recordings, Recordings]:
    return recordings(Path(settings.corpus), split, settings.sound_hours)


@lru_cache(1)
def _encoder() -> FromKept:
    """The frozen encoder in int8, as in a training on a CPU."""
    config = TrainConfig(encoder=ENCODER, blocks=BLOCKS)
    silence = np.zeros(window_samples(config.window_s), dtype=np.float32)
    return FromKept(QuickFeatures(build_net(PHRASES, config), silence))


def _features_path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-')}-features.npy"
