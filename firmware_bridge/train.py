"""Teach the microcontroller student: all phrases of the verifier together, out of which each is cut.

    windows ─┬─> verifier's logits ─┐
             └─> micro features ────┴─> lessons ─> student of all phrases ─> student of one phrase
    background ─> micro features, mined by the student before each epoch

The trunk that all phrases share is learnt once for all of them; of a phrase's own there is an output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from firmware_bridge.aware import AwareStudent
from firmware_bridge.micro import micro_features
from firmware_bridge.micro_student import MicroFrontEnd, MicroStudent, as_mel, from_mel
from firmware_bridge.network import Int8, QuantisedNet
from firmware_bridge.operating import stretch_peaks
from firmware_bridge.quantize import quantise
from wakeword.audio import FRAME_SAMPLES, SAMPLE_RATE
from wakeword.config import DistillConfig
from wakeword.errors import TrainingError, UsageError
from wakeword.train.distill import Lessons, distil
from wakeword.train.features import MakesFeatures, cache_features
from wakeword.train.mine import Background
from wakeword.train.model import WakewordNet
from wakeword.train.run import Progress
from wakeword.train.windows import WindowSet

TOGETHER = DistillConfig(negative_weight=2.0, gain_db=2.0, voice_warp=0.04, mask_bands=14)
"""All phrases, as on hosts; its front end has half the bands and levels loudness itself."""
AWARE = replace(TOGETHER, epochs=3, learning_rate=3e-4, negative_weight=1.0)
"""The one phrase, with int8 rounding in the forward pass."""
FRAMES_PER_HOUR = 3600 * SAMPLE_RATE / FRAME_SAMPLES
OTHERS = 3.0
"""Windows without the phrase for each one with it, when one phrase is taught on."""
HALF_PER_HOUR = 10.0
"""A posterior of a half is what so many stretches (of 2 s) of the train background exceed in an hour."""
SURE = 3.0
"""Log-odds that half of the windows with the phrase reach, at most: 0.95, and room above."""
CALIBRATION_WINDOWS = 1_024
"""On which the ranges of activations are found."""


@dataclass(frozen=True)
class Material:
    """What a student learns from; made once for all phrases."""

    phrases: tuple[str, ...]
    train: Lessons
    dev: Lessons
    background: Background


class Verdicts:
    """Stands where `cache_features` expects a net, and gives the verifier's logits of windows."""

    def __init__(self, net: WakewordNet, encoder: MakesFeatures) -> None:
        """`encoder` makes the features of `net`, in less time perhaps."""
        self._encoder, self._head = encoder, net.head

    def encoder_input(self, audio: Tensor) -> Tensor:
        """The encoder's."""
        return self._encoder.encoder_input(audio)

    def features(self, x: Tensor) -> Tensor:
        """Logits [B, K]."""
        logits: Tensor = self._head(self._encoder.features(x))
        return logits

    def parameters(self) -> Iterator[Tensor]:
        """None: it computes on the CPU."""
        return iter(())

    def eval(self) -> Verdicts:
        """The same, without dropout."""
        self._head.eval()
        return self


def make_lessons(verdicts: Verdicts, windows: WindowSet, path: Path, key: str, progress: Progress) -> Lessons:
    """What the verifier says of all windows, and what a microcontroller hears of them.

    `path` names the caches `<path>-verifier.npy` and `<path>-micro.npy`; `key` as in `cache_features`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    progress.start(f"verifier on {path.name} windows", len(windows))
    said_path = path.with_name(f"{path.name}-verifier.npy")
    said = cache_features(verdicts, windows, said_path, key, progress.advance)
    progress.start(f"micro features of {path.name} windows", len(windows))
    micro_path = path.with_name(f"{path.name}-micro.npy")
    micro = cache_features(MicroFrontEnd(), windows, micro_path, key, progress.advance)
    no_features = np.zeros((len(windows), 0, 0), np.float16)  # these students foretell none
    return Lessons(micro, windows.targets, said.astype(np.float32), no_features)


def hear_background(recordings: Iterable[npt.NDArray[np.generic]], path: Path) -> npt.NDArray[np.float16]:
    """Features of all recordings end to end, as the student takes them, on disk [T, 40]: 29 MB an hour."""
    try:
        with path.open("wb") as file:
            for samples in recordings:
                file.write(as_mel(micro_features(samples)).astype(np.float16).tobytes())
    except OSError as err:
        raise TrainingError(f"cannot keep features in {path}: {err}") from err
    features: npt.NDArray[np.float16] = np.memmap(path, np.float16, "r").reshape(-1, 40)
    return features


def teach_together(
    material: Material, config: DistillConfig, folder: Path, key: str, seed: int, progress: Progress
) -> MicroStudent:
    """A student of all phrases. The checkpoint in `folder` is gone on with: a second call takes no time."""
    torch.manual_seed(seed)
    student = MicroStudent(material.phrases)
    distil(student, material.train, material.dev, config, folder, key, seed, progress, material.background)
    return student


def cut_out(together: MicroStudent, phrase: str) -> MicroStudent:
    """The student of one phrase out of the student of all of them; UsageError where it is none of those.

    Taught on by itself, with windows of its phrase alone, it was no better on dev.
    """
    if phrase not in together.phrases:
        raise UsageError(f"no phrase {phrase!r} in this model; it knows {', '.join(together.phrases)}")
    k = together.phrases.index(phrase)
    student = MicroStudent((phrase,), together.config)
    state = together.state_dict()
    state |= {f"output.{name}": state[f"output.{name}"][k : k + 1] for name in ("weight", "bias")}
    student.load_state_dict(state)
    return student.eval()


def teach_aware(
    student: MicroStudent,
    material: Material,
    config: DistillConfig,
    folder: Path,
    key: str,
    seed: int,
    progress: Progress,
) -> MicroStudent:
    """A student of one phrase taught on with the rounding that it will have in int8."""
    train, dev = _of_phrase(material, material.phrases.index(student.phrases[0]), seed)
    aware = AwareStudent(student, calibration_windows(train, seed))
    distil(aware, train, dev, config, folder, key, seed, progress, material.background)
    return aware.without_rounding()


def _of_phrase(material: Material, k: int, seed: int) -> tuple[Lessons, Lessons]:
    rng = np.random.default_rng(seed)
    train, dev = (of_phrase(lessons, k, OTHERS, rng) for lessons in (material.train, material.dev))
    return train, dev


def of_phrase(lessons: Lessons, k: int, others: float, rng: np.random.Generator) -> Lessons:
    """The windows of phrase k, and `others` times as many without it, with the targets of that phrase."""
    has = lessons.targets[:, k] > 0
    without = np.flatnonzero(~has)
    drawn = rng.permutation(without)[: round(others * has.sum())]
    rows = np.sort(np.concatenate([np.flatnonzero(has), drawn]))
    return Lessons(
        np.asarray(lessons.mel[rows]),
        lessons.targets[rows, k : k + 1],
        lessons.teacher[rows, k : k + 1],
        lessons.features[rows],
    )


def spread_posteriors(student: MicroStudent, material: Material) -> MicroStudent:
    """The student of one phrase with log-odds shifted and flattened, which changes the order of no two steps.

    A cutoff is one of 255: they are to lie between background and phrase, not all at 254 and 255.
    """
    k = material.phrases.index(student.phrases[0])
    steps = material.background.logits(student)[:, 0]
    stretches = np.sort(stretch_peaks(steps))
    hours = len(steps) * student.config.stride / FRAMES_PER_HOUR
    half = float(stretches[-min(len(stretches), max(1, round(HALF_PER_HOUR * hours)))])
    spoken = np.flatnonzero(material.train.targets[:, k])[:CALIBRATION_WINDOWS]
    mel = torch.from_numpy(np.asarray(material.train.mel[spoken], dtype=np.float32))
    with torch.inference_mode():
        said = student.eval()(mel[:, :, mel.shape[2] % student.config.stride :])[0].amax(dim=1)
    factor = min(1.0, SURE / max(float(said.median()) - half, 1e-3))
    with torch.no_grad():
        bias = student.output.get_parameter("bias")
        bias.copy_((bias - half) * factor)
        student.output.weight.mul_(factor)
    return student


def quantise_student(student: MicroStudent, lessons: Lessons, seed: int) -> QuantisedNet:
    """The student of one phrase in integers, its ranges found on windows it was taught with."""
    return quantise(student, student.phrases[0], calibration_windows(lessons, seed))


def calibration_windows(lessons: Lessons, seed: int) -> Int8:
    """Some of the windows as int8 features [N, F, 40]."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(lessons))[:CALIBRATION_WINDOWS])
    return from_mel(np.asarray(lessons.mel[rows]).transpose(0, 2, 1))
