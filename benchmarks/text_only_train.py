"""What benchmarks/text_only.py judges: a detector made by `wakeword train`, and the recogniser.

The training is the product's (`wakeword.recipe.make_detector`). Its verifier, the recogniser and both
become one bundle, with one "phrase" for each pair of row and phrase, so that the streams are heard once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from subset import shortened
from torch import Tensor

from export.pack import draft_bundle, export_verifier
from wakeword.audio import SAMPLE_RATE, read_audio
from wakeword.bundle import save_bundle
from wakeword.clips.augment import place
from wakeword.clips.dataset import COLUMNS, Clip, load_background, load_clips
from wakeword.clips.synth import synthesise
from wakeword.config import TrainConfig
from wakeword.files import write_csv
from wakeword.recipe import Request, make_detector
from wakeword.train.decoder import PhraseScorer, Recogniser, load_recogniser
from wakeword.train.fusion import VOCABULARY, FusedNet, fusion_for
from wakeword.train.model import WakewordNet, load_net, window_samples

ROWS = ("head", "recogniser", "fused")
PARITY_WINDOWS = 16
SEED = 1


@dataclass(frozen=True)
class Plan:
    """What is trained."""

    phrases: tuple[str, ...]
    language: str
    corpus: Path
    synthetic: int
    """Clips of each phrase by machine."""
    real: int
    """Clips of each phrase by people, from the corpus's train split."""
    background_hours: float
    """Of train and dev together."""
    epochs: int | None
    """None = the product's."""
    minutes: float | None
    """Background by machine instead of the corpus's; None = the corpus's."""

    def settings(self) -> TrainConfig:
        """The product's, but for what was asked for."""
        plain = TrainConfig(language=self.language, seed=SEED)
        data = replace(
            plain.data,
            synthetic=self.synthetic,
            near=min(plain.data.near, self.synthetic),
            minutes=self.minutes or plain.data.minutes,
        )
        if self.epochs is None:
            return replace(plain, data=data)
        optim = replace(plain.optim, epochs=self.epochs)
        distill = replace(plain.distill, epochs=self.epochs)
        return replace(plain, data=data, optim=optim, distill=distill)


class AllRows(FusedNet):
    """Logits of every row [B, R * K] from one run of the encoder."""

    def __init__(self, net: WakewordNet, recogniser: Recogniser) -> None:
        scorer = PhraseScorer(recogniser, net.phrases, VOCABULARY)
        super().__init__(net, scorer, net.phrases, fusion_for(net.phrases))
        self.phrases = tuple(f"{row} {phrase}" for row in ROWS for phrase in net.phrases)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.encoder(x)
        head, text = self.head(self.pooled(frames)), self.read(frames)
        return torch.cat([head, text - self.fusion.centre, self.fuse(head, text)], dim=1)


def make_product(plan: Plan, work: Path) -> Path:
    """Train as `wakeword train` does; return the bundle."""
    out = work / "product.wakeword"
    around, clips = background_csv(plan, work), real_csv(plan, work)
    background = () if plan.minutes else (around,)
    make_detector(Request(plan.phrases, clips, background, out, plan.settings(), "cpu", force=True))
    return out


def make_rows(product: Path, plan: Plan, work: Path) -> Path:
    """The product's head, the recogniser and both as one bundle."""
    net, settings = load_net(product.with_suffix(".checkpoint"))
    rows = AllRows(net, load_recogniser()).eval()
    path = work / "rows.wakeword"
    export_rows(rows, parity_sounds(background_csv(plan, work)), settings, path)
    return path


def background_csv(plan: Plan, work: Path) -> Path:
    """A manifest of so much of the corpus's background: of speech and of the rest, of train and of dev."""
    chosen = list[Clip]()
    around = load_background([plan.corpus])
    for split in ("train", "dev"):
        for talks in (True, False):
            part = [c for c in around if c.split == split and (c.kind == "speech") is talks]
            chosen += shortened(part, plan.background_hours / 4)
    return manifest(work / "background.csv", chosen)


def real_csv(plan: Plan, work: Path) -> Path | None:
    """A manifest of `real` clips of each phrase, as a user's own recordings; None for none."""
    if not plan.real:
        return None
    clips = [c for c in load_clips(plan.corpus, plan.phrases) if c.split == "train"]
    rng = np.random.default_rng(SEED)
    chosen = list[Clip]()
    for phrase in plan.phrases:
        mine = [c for c in clips if c.label == phrase]
        chosen += [mine[i] for i in rng.permutation(len(mine))[: plan.real]]
    return manifest(work / "real.csv", chosen)


def manifest(path: Path, clips: Sequence[Clip]) -> Path:
    """Write a manifest of clips."""
    whole = [replace(clip, path=clip.path.resolve()) for clip in clips]
    write_csv(path, COLUMNS, ([str(getattr(clip, column)) for column in COLUMNS] for clip in whole))
    return path


def held_out(plan: Plan, work: Path) -> list[Clip]:
    """Clips by the voices that training never hears: for phrases of which there is no recording."""
    for phrase in plan.phrases:
        synthesise(phrase, work / "held_out", plan.synthetic, SEED, language=plan.language)
    made = load_clips(work / "held_out" / "index.csv", plan.phrases)
    return [clip for clip in made if clip.split == "test"]


def parity_sounds(around: Path) -> list[np.ndarray]:
    """Sounds for the check of parity: background in pieces of one second."""
    first = next(clip for clip in load_background([around]) if clip.kind == "speech")
    sound = read_audio(first.path)
    return [sound[n * SAMPLE_RATE : (n + 1) * SAMPLE_RATE] for n in range(PARITY_WINDOWS)]


def export_rows(net: AllRows, sounds: Sequence[np.ndarray], settings: TrainConfig, path: Path) -> None:
    """The bundle that is listened with: int8, as a user's would be."""
    rng = np.random.default_rng(SEED)
    windows = [place(sound, window_samples(settings.window_s), rng)[0] for sound in sounds]
    with torch.inference_mode():
        mel = net.encoder_input(torch.from_numpy(np.stack(windows))).numpy()
    _, int8, parity = export_verifier(net, mel, {"phrases": net.phrases})
    print(parity, flush=True)
    save_bundle(path, draft_bundle(net, int8, "text-only", settings, {"policy": "head"}))
