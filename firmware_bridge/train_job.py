"""`wakeword firmware train`: from a bundle and its recordings to quantised students and their cutoffs.

What takes long (what the verifier and the microcontroller hear of all windows, the student of all phrases)
is made once for all phrases. It stays in `<MODEL>.micro/work`, so that an interrupted run goes on; delete the
folder to start anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from export.quick_features import QuickFeatures
from firmware_bridge.compiled import quick_posteriors
from firmware_bridge.judge import hear, run_on
from firmware_bridge.micro_student import MICRO_STUDENT
from firmware_bridge.network import QuantisedNet
from firmware_bridge.network_file import FirmwareModel, Point, load_model, save_model, slug
from firmware_bridge.operating import choose_points
from firmware_bridge.train import (
    ALONE,
    TOGETHER,
    Material,
    hear_background,
    make_lessons,
    quantise_student,
    teach_alone,
    teach_together,
)
from wakeword.audio import as_int16, read_audio
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.dataset import Clip, check_clips, load_background, load_clips, require_clips
from wakeword.config import OPERATING_POINTS, DataConfig, TrainConfig
from wakeword.errors import BundleError, DataError, UsageError
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.train.checkpoint import has_checkpoint
from wakeword.train.distill import Lessons
from wakeword.train.mine import Background
from wakeword.train.model import WakewordNet, load_net, window_samples
from wakeword.train.run import Progress
from wakeword.train.windows import WindowSet, plan_windows

CONDITIONS: dict[str, float | None] = {"clean": None, "10 dB": 10.0}
"""Noise over the dev streams on which the window is chosen."""
DEV_SHARE = 8
"""Background windows for dev: one for so many of train."""
Sounds = Mapping[str, list[npt.NDArray[np.int16]]]
"""Recordings by kind."""


@dataclass(frozen=True)
class Request:
    """What `wakeword firmware train` was asked for."""

    model: Path
    phrases: tuple[str, ...]
    """Those to make a student of; none = all that the model has."""
    clips: Path
    background: tuple[Path, ...]
    data: DataConfig
    seed: int = 1

    @property
    def folder(self) -> Path:
        """Where students and caches of this model are."""
        return micro_folder(self.model)


def micro_folder(model: Path) -> Path:
    """The folder beside a bundle that holds its students for microcontrollers."""
    return model.with_suffix(".micro")


def student_path(model: Path, phrase: str) -> Path:
    """The student of one phrase."""
    return micro_folder(model) / f"{slug(phrase)}.npz"


def find_student(model: Path, phrase: str | None) -> FirmwareModel:
    """The student of a phrase beside a bundle, or the only one there is.

    BundleError where there is none yet, UsageError where a phrase has to be named.
    """
    there = sorted(micro_folder(model).glob("*.npz"))
    if phrase is None and len(there) > 1:
        names = ", ".join(path.stem for path in there)
        raise UsageError(f"{model} has students for {names}; choose one with --phrase")
    path = student_path(model, phrase) if phrase is not None else (there or [micro_folder(model)])[0]
    if not path.is_file():
        wanted = f" for {phrase!r}" if phrase else ""
        raise BundleError(
            f"{model} has no microcontroller student{wanted}; make one: "
            f"wakeword firmware train {model} --phrase ... --clips ... --background ..."
        )
    return load_model(path)


def train_firmware(request: Request, progress: Progress) -> list[FirmwareModel]:
    """Teach, quantise and calibrate the student of each phrase, and keep them beside the bundle.

    Raises the WakewordError that explains what is wrong with the bundle, the recordings or the disk.
    """
    net, settings = load_verifier(request.model)
    phrases = chosen_phrases(request, net.phrases)
    torch.set_num_threads(1)
    settings = replace(settings, data=request.data, seed=request.seed)
    recordings = _Recordings.read(request, net.phrases, phrases)
    key, work = _key(net, settings, recordings), request.folder / "work"
    material = _material(net, settings, recordings, work, key, progress)
    lesson_key = json.dumps([key, asdict(MICRO_STUDENT), asdict(TOGETHER), asdict(ALONE)])
    together = teach_together(material, TOGETHER, work / "together", lesson_key, request.seed, progress)
    made = []
    for phrase in phrases:
        folder = work / slug(phrase)
        args = (material, ALONE, folder, f"{lesson_key} {phrase}", request.seed, progress)
        student = teach_alone(together, phrase, *args)
        net_int8 = quantise_student(student, material.train, request.seed)
        progress.start(f"cutoffs of {phrase}", 1)
        dev = (recordings.clips["dev"], recordings.background["dev"])
        points = dev_points(net_int8, *dev, work, request.seed)
        progress.advance(1)
        made.append(FirmwareModel(net_int8, points, _facts(settings, recordings, phrase)))
        save_model(student_path(request.model, phrase), made[-1])
    return made


def chosen_phrases(request: Request, known: Sequence[str]) -> tuple[str, ...]:
    """What is to be made; UsageError for a phrase that the model does not have."""
    for phrase in request.phrases:
        if phrase not in known:
            raise UsageError(f"{request.model} has no phrase {phrase!r}; it has {', '.join(known)}")
    return tuple(dict.fromkeys(request.phrases)) or tuple(known)


def load_verifier(model: Path) -> tuple[WakewordNet, TrainConfig]:
    """The verifier of a bundle with its torch weights; BundleError where these are gone."""
    folder = model.with_suffix(".checkpoint")
    if not has_checkpoint(folder):
        raise BundleError(
            f"no {folder} beside the bundle: a student is taught by the verifier's own weights, which "
            f"`wakeword train --out {model.name}` leaves there"
        )
    return load_net(folder)


@dataclass(frozen=True)
class _Recordings:
    clips: Mapping[str, list[Clip]]
    """By split."""
    background: Mapping[str, list[Clip]]

    @classmethod
    def read(cls, request: Request, known: Sequence[str], wanted: Sequence[str]) -> _Recordings:
        clips, _ = check_clips(load_clips(request.clips, known))
        require_clips(clips, wanted)
        background = load_background(request.background)
        parts = {split: [c for c in background if c.split == split] for split in ("train", "dev")}
        if not all(any(c.kind == "speech" for c in part) for part in parts.values()):
            raise DataError("no background speech to learn from; give folders with --background")
        return cls({split: [c for c in clips if c.split == split] for split in parts}, parts)


def _material(
    net: WakewordNet,
    settings: TrainConfig,
    recordings: _Recordings,
    work: Path,
    key: str,
    progress: Progress,
) -> Material:
    lessons, quick = dict[str, Lessons](), None
    for split in ("train", "dev"):
        sounds = _read_sounds(recordings.background[split])
        windows = _windows(split, net.phrases, recordings, sounds, settings)
        quick = quick or QuickFeatures(net, windows.render(0))
        lessons[split] = make_lessons(net, quick, windows, work / split, key, progress)
        if split == "train":
            progress.start("micro features of the background", 1)
            heard = hear_background((s for part in sounds.values() for s in part), work / "background.f16")
            progress.advance(1)
    background = Background(heard, lessons["train"].mel.shape[2])
    return Material(net.phrases, lessons["train"], lessons["dev"], background)


def _read_sounds(clips: Sequence[Clip]) -> Sounds:
    with ThreadPoolExecutor(2) as pool:
        samples = list(pool.map(lambda clip: as_int16(read_audio(clip.path)), clips))
    sounds: dict[str, list[npt.NDArray[np.int16]]] = {"speech": [], "noise": []}
    for clip, audio in zip(clips, samples, strict=True):
        sounds["speech" if clip.kind == "speech" else "noise"].append(audio)
    return sounds


def _windows(
    split: str, phrases: Sequence[str], recordings: _Recordings, sounds: Sounds, settings: TrainConfig
) -> WindowSet:
    augmenter = Augmenter(
        AugmentConfig(), sounds["noise"], sounds["speech"], window_samples(settings.window_s)
    )
    train = split == "train"
    return plan_windows(
        recordings.clips[split],
        phrases,
        augmenter,
        versions=settings.data.versions if train else settings.data.dev_versions,
        negatives=settings.data.negatives // (1 if train else DEV_SHARE),
        seed=settings.seed if train else settings.seed + 1,
    )


def dev_points(
    net: QuantisedNet, clips: Sequence[Clip], background: Sequence[Clip], work: Path, seed: int
) -> dict[str, Point]:
    """Cutoff and window for each operating point, by the firmware's rule on dev streams."""
    speech = [c for c in background if c.kind == "speech"]
    noise = [c for c in background if c.kind != "speech"]
    phrases = [c for c in clips if c.label == net.phrase]
    posteriors, cache = quick_posteriors(net), work / "streams"
    mixed = {}
    for name, snr_db in CONDITIONS.items():
        if snr_db is not None and not noise:
            continue
        streams = build_mixed_streams(phrases, speech, noise, MixConfig(snr_db=snr_db), seed)
        mixed[name] = run_on(posteriors, [hear(s, cache) for s in streams])
    negative = run_on(posteriors, [hear(s, cache) for s in build_negative_streams(background)])
    return choose_points(mixed, negative, net.phrase, OPERATING_POINTS)


def _key(net: WakewordNet, settings: TrainConfig, recordings: _Recordings) -> str:
    """Names everything that the windows, and what the verifier says of them, depend on."""
    parts = (recordings.clips, recordings.background)
    files = [str(c.path) for part in parts for clips in part.values() for c in clips]
    digest = hashlib.sha256(json.dumps([asdict(settings), files]).encode())
    for name, tensor in net.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _facts(settings: TrainConfig, recordings: _Recordings, phrase: str) -> dict[str, object]:
    counts = {split: sum(c.label == phrase for c in clips) for split, clips in recordings.clips.items()}
    hours = {
        split: round(sum(c.seconds for c in clips) / 3600, 3)
        for split, clips in recordings.background.items()
    }
    return {"clips": counts, "background_hours": hours, "data": asdict(settings.data), "seed": settings.seed}
