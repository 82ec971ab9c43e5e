"""What ingredients.py teaches with: windows with what one verifier says of them, background, and streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cached_streams import Streams, cache_streams, plan_streams, write_cell
from cells import study_folder
from results import OUT
from subset import PHRASES, shortened
from transfer_data import Lines, surroundings

from export.quick_features import QuickFeatures
from wakeword.audio import read_audio
from wakeword.clips.confusable_clips import synthesise_confusables
from wakeword.clips.dataset import Clip, Split, load_background, load_clips
from wakeword.config import TrainConfig
from wakeword.evaluate.run import pick_clips
from wakeword.mel import N_MELS
from wakeword.train.distill import Lessons, make_lessons
from wakeword.train.finetune import Course, Kept, fine_tune
from wakeword.train.mine import cache_background
from wakeword.train.model import build_net
from wakeword.train.policy import choose_policy
from wakeword.train.windows import WindowSet, plan_windows

SPLITS: tuple[Split, ...] = ("train", "dev")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all students share; another setting is another folder."""

    corpus: str
    versions: int = 3
    negatives: int = 3_000
    near: int = 120
    """Near phrases spoken for each phrase."""
    unlabelled_hours: float = 3.0
    test_clips: int | None = None
    """Of each phrase and SNR; None = all."""
    background_hours: float | None = None
    """Of dev and of test; None = all."""
    snrs: tuple[str, ...] = ("clean", "10")
    train_clips: int | None = None
    """Of each phrase and split; None = all."""
    sound_hours: float | None = None
    """Of speech, and of noise, that windows are made of; None = all."""
    seed: int = 1

    def folder(self) -> Path:
        """Where all of it is kept."""
        return study_folder("ingredients", self)


@dataclass(frozen=True)
class Taught:
    """Lessons of a split, and which of them hold a near phrase or one that breaks off."""

    lessons: Lessons
    near: npt.NDArray[np.bool_]


def trial(settings: Settings) -> Settings:
    """The same on almost nothing, to see that it runs."""
    return replace(
        settings,
        versions=1,
        negatives=40,
        near=4,
        unlabelled_hours=0.01,
        test_clips=1,
        background_hours=0.01,
        train_clips=4,
        sound_hours=0.01,
    )


def prepare(settings: Settings) -> None:
    """Train the verifier, let it hear all windows, and keep everything the students need."""
    folder = settings.folder()
    if (folder / "ready.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    corpus, config = Path(settings.corpus), TrainConfig(seed=settings.seed)
    near = _near(settings)
    windows = {split: _windows(settings, config, split, near[split]) for split in SPLITS}
    net = build_net(PHRASES, config)
    kept = Kept(QuickFeatures(net, windows["train"].render(0)))
    policy = choose_policy("head", 0.0, "cpu", net.encoder.n_blocks)
    key, lines = folder.name, Lines()
    course = Course(config.optim, folder, key, settings.seed, lines, kept)
    fine_tune(net, windows["train"], windows["dev"], policy, course)
    for split, part in windows.items():
        lessons = make_lessons(net, part, folder / split, key, lines, kept)
        np.savez(
            folder / f"{split}-labels.npz",
            targets=lessons.targets,
            teacher=lessons.teacher,
            near=_is_near(part, len(near[split])),
        )
    background = [c for c in load_background([corpus]) if c.split == "train"]
    chosen = shortened(background, settings.unlabelled_hours)
    cache_background((read_audio(c.path) for c in chosen), folder / "background.f16")
    write_cell(folder / "ready.json", asdict(settings))


def _near(settings: Settings) -> dict[Split, list[Clip]]:
    made = synthesise_confusables(PHRASES, OUT / "ingredients" / "near", settings.near, seed=1, splits=SPLITS)
    return {split: [c.clip for c in made if c.clip.split == split] for split in SPLITS}


def _windows(settings: Settings, config: TrainConfig, split: Split, near: Sequence[Clip]) -> WindowSet:
    corpus, train = Path(settings.corpus), split == "train"
    of_split = [c for c in load_clips(corpus, PHRASES) if c.split == split]
    return plan_windows(
        pick_clips(of_split, PHRASES, settings.train_clips, seed=1),
        PHRASES,
        surroundings(corpus, split, settings.sound_hours),
        versions=settings.versions if train else 2,
        negatives=settings.negatives if train else settings.negatives // 4,
        seed=settings.seed + (not train),
        near=near,
        broken=1,
    )


def _is_near(windows: WindowSet, n_near: int) -> npt.NDArray[np.bool_]:
    """Windows of a clip that are to say nothing: near phrases, and phrases that break off."""
    found: npt.NDArray[np.bool_] = (windows.clip_of >= 0) & ~windows.targets.any(axis=1)
    assert found.sum() == n_near + windows.n_broken
    return found


@lru_cache(1)  # a process runs many cells
def load_taught(settings: Settings) -> dict[str, Taught]:
    """What `prepare` kept."""
    folder, found = settings.folder(), {}
    for split in SPLITS:
        labels = np.load(folder / f"{split}-labels.npz")
        mel, features = (np.load(folder / f"{split}{kind}.npy", mmap_mode="r") for kind in ("-mel", ""))
        found[split] = Taught(Lessons(mel, labels["targets"], labels["teacher"], features), labels["near"])
    return {str(split): part for split, part in found.items()}


def load_hours(settings: Settings) -> npt.NDArray[np.float16]:
    """Log-mel of the unlabelled hours [T, 80]."""
    path = settings.folder() / "background.f16"
    hours: npt.NDArray[np.float16] = np.memmap(path, np.float16, "r").reshape(-1, N_MELS)
    return hours


@lru_cache(1)  # a process runs many cells
def load_streams(settings: Settings) -> Streams:
    """The streams that all students are judged on."""
    plan = plan_streams(
        Path(settings.corpus),
        PHRASES,
        settings.snrs,
        settings.test_clips,
        settings.background_hours,
        settings.background_hours,
    )
    return cache_streams(plan, settings.folder() / "streams")


def part_of(lessons: Lessons, rows: npt.NDArray[Any]) -> Lessons:
    """Some of the windows."""
    return Lessons(lessons.mel[rows], lessons.targets[rows], lessons.teacher[rows], lessons.features[rows])
