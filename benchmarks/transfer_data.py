"""What transfer.py trains on: windows as log-mel, and the frozen encoder's features at every depth.

All are computed once, whatever the number of heads that are trained on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cached_streams import Heard, Streams, cache_streams, frames_at, hops_asked, plan_streams
from cells import study_folder
from subset import PHRASES, shortened
from torch import Tensor, nn

from export.quick_features import QuickFeatures
from wakeword.audio import as_int16, read_audio
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.dataset import Clip, load_background, load_clips
from wakeword.config import TrainConfig
from wakeword.evaluate.run import pick_clips, speech_and_noise
from wakeword.train.encoders import load_encoder
from wakeword.train.features import KeptRows, MelOnly, cache_features
from wakeword.train.head import pool_factor, pool_frames
from wakeword.train.model import window_frames, window_samples
from wakeword.train.whisper import WhisperEncoder
from wakeword.train.windows import WindowSet, plan_windows

ENCODER = "tiny.en"
WINDOW = window_frames(TrainConfig().window_s)
Features = npt.NDArray[np.float16]
Recordings = Sequence[npt.NDArray[np.int16]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all cells share; another setting is another folder of caches and cells."""

    corpus: str
    versions: int = 4
    """Windows of each clip."""
    negatives: int = 2_000
    stride: int = 3
    """Hops (80 ms) from one at which a stream is heard to the next."""
    test_clips: int = 60
    """Of each phrase and SNR."""
    dev_hours: float | None = None
    """None = all: thresholds are read off it."""
    test_hours: float = 1.0
    snrs: tuple[str, ...] = ("clean", "10", "5", "0")
    train_clips: int | None = None
    """Of each phrase and split; None = all."""
    sound_hours: float | None = None
    """Of speech, and of noise, that windows are made of; None = all."""
    seed: int = 1

    def folder(self) -> Path:
        """Where all of it is kept."""
        return study_folder("transfer", self)


@dataclass(frozen=True)
class Windows:
    """N training windows."""

    mel: Features
    """[N, 80, T]."""
    targets: npt.NDArray[np.float32]
    """[N, K]."""
    clip_of: npt.NDArray[np.int64]
    """The clip in each, -1 for none [N]."""
    clips: Sequence[Clip]


class AllDepths(nn.Module):
    """Log-mel in, out what encoders cut after each block would give [B, blocks, F, D]."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def encoder_input(self, mel: Tensor) -> Tensor:
        return mel

    def features(self, mel: Tensor) -> Tensor:
        encoder, depths = self.encoder, list[Tensor]()
        x = encoder.below(mel, encoder.n_blocks)
        for block in encoder.blocks:
            x = block(x)
            depths.append(pool_frames(encoder.ln_post(x), pool_factor(encoder.frame_hz)))
        return torch.stack(depths, dim=1)


class StreamRows:
    """The windows of streams at the hops that are asked for."""

    def __init__(self, streams: Sequence[Heard], stride: int) -> None:
        self._mels = [heard.mel for heard in streams]
        self.hops = [hops_asked(heard, WINDOW, stride) for heard in streams]
        self._where = [(k, hop) for k, hops in enumerate(self.hops) for hop in hops]

    def __len__(self) -> int:
        return len(self._where)

    def render(self, i: int, epoch: int = 0) -> npt.NDArray[np.float32]:
        k, hop = self._where[i]
        end = frames_at(hop)
        return np.ascontiguousarray(self._mels[k][end - WINDOW : end].T.astype(np.float32))

    def render_rows(self, start: int, end: int) -> npt.NDArray[np.float32]:
        """Windows `start` to `end`, or the last one [n, 80, T]."""
        return np.stack([self.render(i) for i in range(start, min(end, len(self)))])

    def split(self, rows: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        """Of rows for all windows, those of each stream."""
        yield from np.split(rows, np.cumsum([len(hops) for hops in self.hops])[:-1])


class Lines:
    """Progress as lines, ten a stage."""

    def start(self, stage: str, total: int) -> None:
        self._stage, self._total, self._done, self._said = stage, total, 0, -1

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        tenth = 10 * self._done // max(self._total, 1)
        if tenth > self._said:
            self._said = tenth
            print(f"{self._stage}: {self._done} of {self._total}", flush=True)


@lru_cache(1)  # a process runs many cells
def load_windows(settings: Settings) -> dict[str, Windows]:
    """Train and dev windows as log-mel."""
    corpus, folder, found = Path(settings.corpus), settings.folder(), {}
    for split in ("train", "dev"):
        labels = folder / f"{split}-labels.npz"
        if not labels.exists():  # written last: the log-mel is complete where it is there
            around = surroundings(corpus, split, settings.sound_hours)
            planned = plan_split(settings, split, around, settings.seed + (split == "dev"))
            cached(MelOnly(), planned, folder / f"{split}-mel.npy")
            np.savez(labels, targets=planned.targets, clip_of=planned.clip_of)
        known = np.load(labels)
        mel = np.load(folder / f"{split}-mel.npy", mmap_mode="r")
        found[split] = Windows(mel, known["targets"], known["clip_of"], _clips(settings, split))
    return found


def surroundings(corpus: Path, split: str, hours: float | None) -> Augmenter:
    """What windows are made of besides clips: so many `hours` of a split's speech, and of other sound."""
    return augmenter(AugmentConfig(), *recordings(corpus, split, hours))


def recordings(corpus: Path, split: str, hours: float | None) -> tuple[Recordings, Recordings]:
    """(speech, noise and music) of a split, so many `hours` of each."""
    background = [c for c in load_background([corpus]) if c.split == split]
    speech, noise = (
        [as_int16(read_audio(c.path)) for c in shortened(part, hours)]
        for part in speech_and_noise(background)
    )
    return speech, noise


def augmenter(config: AugmentConfig, speech: Recordings, noise: Recordings) -> Augmenter:
    """What makes windows of the length that a training has."""
    return Augmenter(config, noise, speech, window_samples(TrainConfig().window_s))


def plan_split(settings: Settings, split: str, around: Augmenter, seed: int) -> WindowSet:
    """The windows of a split."""
    train = split == "train"
    return plan_windows(
        _clips(settings, split),
        PHRASES,
        around,
        versions=settings.versions if train else 1,
        negatives=settings.negatives if train else max(4, settings.negatives // 4),
        seed=seed,
    )


def _clips(settings: Settings, split: str) -> list[Clip]:
    of_split = [c for c in load_clips(Path(settings.corpus), PHRASES) if c.split == split]
    return pick_clips(of_split, PHRASES, settings.train_clips, seed=1)


def cached(net: Any, rows: Any, path: Path) -> Features:
    """What `net` gives of all `rows`, from `path` where it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = Lines()
    lines.start(path.stem, len(rows))
    return cache_features(net, rows, path, f"{path.stem} {len(rows)}", lines.advance)


@lru_cache(1)  # a process runs many cells
def load_streams(settings: Settings) -> Streams:
    """The streams that all cells are judged on."""
    plan = plan_streams(
        Path(settings.corpus),
        PHRASES,
        settings.snrs,
        settings.test_clips,
        settings.dev_hours,
        settings.test_hours,
    )
    return cache_streams(plan, settings.folder() / "streams")


def make_features(settings: Settings, windows: dict[str, Windows], streams: Streams) -> None:
    """Compute the frozen encoder's features of everything, by int8 as in a training on a CPU."""
    encoder = load_encoder(ENCODER)
    assert isinstance(encoder, WhisperEncoder)
    net = AllDepths(encoder).eval()
    quick = QuickFeatures(net, windows["train"].mel[0].astype(np.float32)[:, -WINDOW:])  # type: ignore[arg-type]
    rows: dict[str, Any] = {split: KeptRows(part.mel[:, :, -WINDOW:]) for split, part in windows.items()}
    rows |= {name: StreamRows(part, settings.stride) for name, part in streams.items()}
    for name, part in rows.items():
        cached(quick, part, _features_path(settings, name))


def load_features(settings: Settings, names: Sequence[str], kept: int) -> dict[str, Features]:
    """What `make_features` computed, of an encoder cut to its first `kept` blocks [N, F, D]."""
    return {name: np.load(_features_path(settings, name), mmap_mode="r")[:, kept - 1] for name in names}


def _features_path(settings: Settings, name: str) -> Path:
    return settings.folder() / f"{name.replace(' ', '-')}-features.npy"


def trial(settings: Settings) -> Settings:
    """The same on almost nothing, to see that it runs."""
    return replace(
        settings,
        versions=1,
        negatives=24,
        test_clips=1,
        dev_hours=0.01,
        test_hours=0.01,
        snrs=("clean", "5"),
        train_clips=4,
        sound_hours=0.01,
    )
