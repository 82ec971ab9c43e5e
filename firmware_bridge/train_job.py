"""`wakeword firmware train`: from a bundle and its recordings to quantised students and their cutoffs.

What takes long (what the verifier and the microcontroller hear of all windows, the student of all phrases)
is made once for all phrases. It stays in `<MODEL>.micro/work`, so that an interrupted run goes on; delete the
folder to start anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from export.quick_features import QuickFeatures
from firmware_bridge.compiled import quick_posteriors
from firmware_bridge.judge import hear, run_on
from firmware_bridge.micro_student import MICRO_STUDENT
from firmware_bridge.network import QuantisedNet
from firmware_bridge.network_file import FirmwareModel, Point, load_model, save_model, slug
from firmware_bridge.operating import choose_points
from firmware_bridge.train import (
    AWARE,
    TOGETHER,
    Material,
    Verdicts,
    cut_out,
    hear_background,
    make_lessons,
    quantise_student,
    spread_posteriors,
    teach_aware,
    teach_together,
)
from wakeword.bars import Bars
from wakeword.clips.dataset import Clip
from wakeword.clips.drop import NOTHING, DropList
from wakeword.clips.gather import Recordings, gather, read_given
from wakeword.config import OPERATING_POINTS, TrainConfig
from wakeword.errors import BundleError, UsageError
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.train.checkpoint import has_checkpoint
from wakeword.train.distill import Lessons
from wakeword.train.material import Sounds, cut_from, windows_of
from wakeword.train.mine import Background
from wakeword.train.model import WakewordNet, load_net
from wakeword.train.run import Progress

CONDITIONS: dict[str, float | None] = {"clean": None, "10 dB": 10.0}
"""Noise over the dev streams on which the window is chosen."""


@dataclass(frozen=True)
class Request:
    """What `wakeword firmware train` was asked for."""

    model: Path
    phrases: tuple[str, ...]
    """Those to make a student of; none = all that the model has."""
    clips: Path | None
    """Recordings of them; None = a machine speaks them."""
    background: tuple[Path, ...]
    """Recordings without them; none = a machine makes them."""
    data: Mapping[str, int]
    """Settings of `DataConfig` that differ from those the verifier was trained with."""
    seed: int = 1
    aware: bool = False
    """Teach on with int8 rounding, and not only round afterwards."""
    drop: DropList = NOTHING
    """Recordings, or stretches of them, to leave out."""

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


def train_firmware(request: Request, progress: Bars) -> list[FirmwareModel]:
    """Teach, quantise and calibrate the student of each phrase, and keep them beside the bundle.

    Raises the WakewordError that explains what is wrong with the bundle, the recordings or the disk.
    """
    net, settings = load_verifier(request.model)
    phrases = chosen_phrases(request, net.phrases)
    settings = replace(settings, data=replace(settings.data, **request.data), seed=request.seed)
    given = read_given(net.phrases, request.clips, request.background)
    progress.start("recordings", 1)
    made_up = gather(given, settings.data, settings.language, settings.seed, progress.track)
    recordings = made_up.without(request.drop)
    key, work = _key(net, settings, recordings, request.drop), request.folder / "work"
    material = _material(net, settings, recordings, request.drop, work, key, progress)
    lesson_key = json.dumps([key, asdict(MICRO_STUDENT), *map(asdict, (TOGETHER, AWARE))])
    together = teach_together(material, TOGETHER, work / "together", lesson_key, request.seed, progress)
    made = []
    for phrase in phrases:
        student = cut_out(together, phrase)
        if request.aware:
            args = (work / slug(phrase), f"{lesson_key} {phrase}", request.seed, progress)
            student = teach_aware(student, material, AWARE, *args)
        net_int8 = quantise_student(spread_posteriors(student, material), material.train, request.seed)
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


def _material(
    net: WakewordNet,
    settings: TrainConfig,
    recordings: Recordings,
    drop: DropList,
    work: Path,
    key: str,
    progress: Progress,
) -> Material:
    lessons, verdicts = dict[str, Lessons](), None
    for split in ("train", "dev"):
        sounds = Sounds.read(recordings.background[split], drop)
        windows = windows_of(split, recordings, sounds, settings)
        verdicts = verdicts or Verdicts(net, QuickFeatures(net, windows.render(0)))
        lessons[split] = make_lessons(verdicts, windows, work / split, key, progress)
        if split == "train":
            progress.start("micro features of the background", 1)
            heard = hear_background(sounds.all(), work / "background.f16")
            progress.advance(1)
    background = Background(heard, lessons["train"].mel.shape[2])
    return Material(net.phrases, lessons["train"], lessons["dev"], background)


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


def _key(net: WakewordNet, settings: TrainConfig, recordings: Recordings, drop: DropList) -> str:
    """Names everything that the windows, and what the verifier says of them, depend on."""
    digest = hashlib.sha256(json.dumps([asdict(settings), cut_from(recordings, drop)]).encode())
    for name, tensor in net.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _facts(settings: TrainConfig, recordings: Recordings, phrase: str) -> dict[str, object]:
    hours = {
        split: round(sum(c.seconds for c in clips) / 3600, 3)
        for split, clips in recordings.background.items()
    }
    return {
        "clips": recordings.counts()[phrase],
        "background_hours": hours,
        "data": asdict(settings.data),
        "seed": settings.seed,
        "notes": recordings.notes,
    }
