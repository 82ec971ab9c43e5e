"""One student of ingredients.py: what it is taught with, and what it misses alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cached_streams import HOP_FRAMES, Heard, judge, trace_of
from cells import Silent, file_name
from ingredients_data import Settings, load_hours, load_streams, load_taught, part_of
from subset import PHRASES
from transfer_data import WINDOW

from wakeword.cascade import SILENCE
from wakeword.config import DistillConfig, StudentConfig
from wakeword.decision import DecisionConfig
from wakeword.evaluate.trace import Trace
from wakeword.train.distill import distil
from wakeword.train.mine import Background
from wakeword.train.student import StudentNet, n_parameters

FEATURE_WEIGHT = 0.3
PIECE_HOPS = 750
"""A student hears a minute at once."""


@dataclass(frozen=True)
class Recipe:
    """What a student is made of; the fields' defaults are what `wakeword train` does."""

    name: str
    teacher: bool = True
    """The verifier's posteriors; without them the labels alone."""
    features: bool = False
    """The verifier's features, to be foretold; tempo then stays as it is."""
    hours: bool = True
    """Windows of unlabelled background in each batch."""
    mined: bool = True
    """Half of those from where it nearly fired."""
    near: bool = True
    """Near phrases, and phrases that break off."""
    varied: bool = True
    """Noise, level and hidden stripes anew each epoch."""
    voices: bool = True
    """Other vocal tracts, tempos and channels anew each epoch."""
    norms: bool = True
    """Batch normalisation."""
    channels: int = 64


ALONE = Recipe(
    "labels alone",
    **dict.fromkeys(("teacher", "hours", "mined", "near", "varied", "voices", "norms"), False),
)
STEPS: tuple[tuple[str, dict[str, bool]], ...] = (
    ("+ varied anew each epoch", {"varied": True}),
    ("+ other voices, tempos and channels", {"voices": True}),
    ("+ norms", {"norms": True}),
    ("+ the verifier's posteriors", {"teacher": True}),
    ("+ near and broken-off phrases", {"near": True}),
    ("+ unlabelled hours", {"hours": True}),
    ("+ mined false accepts (as trained)", {"mined": True}),
)
LADDER = tuple(accumulate(STEPS, lambda r, step: replace(r, name=step[0], **step[1]), initial=ALONE))
"""Each adds one thing to the one before."""
VARIANTS = (
    Recipe("as trained, but labels alone", teacher=False),
    Recipe("as trained, and the verifier's features", features=True),
    Recipe("as trained, half the channels", channels=32),
    Recipe("as trained, twice the channels", channels=128),
)
RECIPES = (*LADDER, *VARIANTS)


@dataclass(frozen=True)
class Cell:
    """A recipe with a seed."""

    recipe: Recipe
    seed: int
    epochs: int

    def name(self) -> str:
        """Of its file."""
        return file_name(self.recipe.name, self.epochs, self.seed)


class _NotMined(Background):
    """Background of which all is as likely to be drawn."""

    def mine(self, student: StudentNet) -> None:
        """Nothing is noted."""


def run_cell(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Teach it and let it hear the streams."""
    torch.set_num_threads(1)
    start = time.monotonic()
    student = teach(cell, settings)
    taught_s = time.monotonic() - start
    streams = load_streams(settings)
    traces = {name: [hear(student, heard) for heard in part] for name, part in streams.items()}
    return {
        **judge(streams, traces, PHRASES, DecisionConfig()),
        "parameters": n_parameters(student),
        "teaching_s": taught_s,
        "seconds": time.monotonic() - start,
    }


def teach(cell: Cell, settings: Settings) -> StudentNet:
    """A student by this recipe."""
    recipe, taught = cell.recipe, load_taught(settings)
    rows = np.flatnonzero(~taught["train"].near | recipe.near)
    lessons = part_of(taught["train"].lessons, rows)
    config = distill_config(recipe, cell.epochs)
    kind = Background if recipe.mined else _NotMined
    background = kind(load_hours(settings), WINDOW) if recipe.hours else None
    torch.manual_seed(cell.seed)
    student = StudentNet(PHRASES, StudentConfig(channels=recipe.channels))
    if not recipe.norms:
        student.without_norms()
    with tempfile.TemporaryDirectory() as folder:
        distil(
            student,
            lessons,
            taught["dev"].lessons,
            config,
            Path(folder),
            cell.name(),
            cell.seed,
            Silent(),
            background,
        )
    return student.folded()


def distill_config(recipe: Recipe, epochs: int) -> DistillConfig:
    """How `distil` is to teach by a recipe."""
    config = DistillConfig(epochs=epochs)
    if not recipe.teacher:
        config = replace(config, teacher_share=0.0)
    if recipe.features:
        config = replace(config, feature_weight=FEATURE_WEIGHT, tempo_warp=0.0)
    if not recipe.voices:
        config = replace(config, voice_warp=0.0, tempo_warp=0.0, style_share=0.0)
    if not recipe.varied:
        config = replace(config, gain_db=0.0, mix_share=0.0, mask_bands=0, mask_frames=0)
    return config


def hear(student: StudentNet, heard: Heard) -> Trace:
    """Every hop of a stream, as `wakeword.cascade.StudentScorer` hears it."""
    scores = hop_scores(student, heard.mel)
    first = next(h for h in range(len(scores) + 1) if h * HOP_FRAMES - 2 >= WINDOW or h == len(scores))
    return trace_of(heard, range(first, len(scores) + 1), scores[max(first - 1, 0) :], student.phrases)


def hop_scores(student: StudentNet, mel: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Scores of each hop [H, K], from its frames [T, 80]: two frames of silence come before the first."""
    n_hops = (len(mel) + 2) // HOP_FRAMES
    states, rows = student.zero_states(1), list[torch.Tensor]()
    with torch.inference_mode():
        for at in range(0, n_hops, PIECE_HOPS):
            n = min(PIECE_HOPS, n_hops - at)
            logits, states = student(_piece(mel, at, n), states)
            rows.append(logits[0].reshape(n, -1, logits.shape[2]).amax(dim=1).sigmoid())
    return torch.cat([torch.zeros(0, len(student.phrases)), *rows]).numpy()


def _piece(mel: npt.NDArray[np.float16], at: int, n: int) -> torch.Tensor:
    start, end = at * HOP_FRAMES - 2, (at + n) * HOP_FRAMES - 2
    part = np.asarray(mel[max(start, 0) : end], dtype=np.float32)
    before = np.full((n * HOP_FRAMES - len(part), part.shape[1]), SILENCE, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(np.concatenate([before, part]).T))[None]


def by_recipe(results: dict[Cell, dict[str, Any]]) -> dict[Recipe, Sequence[dict[str, Any]]]:
    """Results of all seeds."""
    rows: dict[Recipe, list[dict[str, Any]]] = {}
    for cell, result in results.items():
        rows.setdefault(cell.recipe, []).append(result)
    return dict(rows)
