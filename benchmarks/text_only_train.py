"""What benchmarks/text_only.py judges: heads trained from text alone, and the recogniser, in one bundle.

A bundle holds one "phrase" for each pair of row and phrase, so that the streams are listened to once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.pack import draft_bundle, export_verifier
from wakeword.audio import as_int16, read_audio, read_clip
from wakeword.bundle import save_bundle
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.confusable_clips import load_confusables, synthesise_confusables
from wakeword.clips.dataset import Clip, load_background, load_clips
from wakeword.clips.synth import synthesise
from wakeword.config import OptimConfig, TrainConfig
from wakeword.train.decoder import PhraseScorer, load_recogniser
from wakeword.train.finetune import fine_tune
from wakeword.train.fusion import FusedNet, Fusion
from wakeword.train.hearing import heard_as
from wakeword.train.model import WakewordNet, build_net, window_samples
from wakeword.train.policy import choose_policy
from wakeword.train.windows import WindowSet, plan_windows

PHRASES = ("alexa", "computer", "jarvis", "smart mirror")
ROWS = ("head", "head, filtered clips", "recogniser", "fused", "fused, filtered clips")
NEGATIVES = 8_000
CENTRE = 6.0
"""Log-probability -6 becomes a posterior of a half, so that smoothing averages what it should."""


class AllRows(FusedNet):
    """Logits of every row [B, R * K] from one run of the encoder."""

    def __init__(self, nets: Sequence[WakewordNet], scorer: PhraseScorer, fusion: Fusion) -> None:
        super().__init__(nets[0], scorer, fusion)
        self.phrases = tuple(f"{row} {phrase}" for row in ROWS for phrase in PHRASES)
        self.filtered = nets[1].head

    def forward(self, x: Tensor) -> Tensor:
        frames = self.encoder(x)
        plain, filtered = (head(self.pooled(frames)) for head in (self.head, self.filtered))
        text = self.read(frames)
        return torch.cat(
            [plain, filtered, text + CENTRE, self.fuse(plain, text), self.fuse(filtered, text)], dim=1
        )


class Lines:
    """Training progress, a line a stage."""

    def start(self, stage: str, total: int) -> None:
        print(f"{stage}: {total}", flush=True)

    def advance(self, steps: int = 1, note: str = "") -> None:
        if note:
            print(f"  {note}", flush=True)


def make_bundle(corpus: Path, work: Path, n_clips: int, epochs: int) -> tuple[Path, dict[str, object]]:
    """Speak the clips, train both heads, export all rows; return the bundle and what it was made of."""
    torch.set_num_threads(1)
    settings = TrainConfig(optim=OptimConfig(epochs=epochs))
    for phrase in PHRASES:
        synthesise(phrase, work / "clips", n_clips, seed=1)
    synthesise_confusables(PHRASES, work / "near", n_clips // 2, seed=1, splits=("train", "dev"))
    clips = load_clips(work / "clips" / "index.csv", PHRASES)
    near = {split: [c.clip for c in load_confusables(work / "near", split)] for split in ("train", "dev")}
    scorer = PhraseScorer(load_recogniser(), PHRASES)
    fused = FusedNet(build_net(PHRASES, settings), scorer, Fusion())
    samples = [read_clip(clip.path) for clip in clips]
    heard = heard_as(fused, samples, [clip.label for clip in clips], window_samples(settings.window_s))
    nets = []
    sounds = {split: augmenter(corpus, split, settings) for split in ("train", "dev")}
    for name, kept in (("plain", clips), ("filtered", [c for c, h in zip(clips, heard, strict=True) if h])):
        net = build_net(PHRASES, settings)
        train, dev = (windows(kept, near[s], s, sounds[s], settings) for s in ("train", "dev"))
        policy = choose_policy("head", 0.0, "cpu", net.encoder.n_blocks)
        (work / name).mkdir(exist_ok=True)
        key = f"{name} {n_clips} {epochs} {len(train)}"
        fine_tune(net, train, dev, policy, settings.optim, work / name, key, settings.seed, Lines())
        nets.append(net.eval())
    path = work / "rows.wakeword"
    export_rows(AllRows(nets, scorer, Fusion()).eval(), dev, settings, path)
    facts = {"clips": len(clips), "near": sum(map(len, near.values())), "dropped": dropped(clips, heard)}
    return path, facts


def augmenter(corpus: Path, split: str, settings: TrainConfig) -> Augmenter:
    """Surroundings and background from one split of the corpus."""
    background = [c for c in load_background([corpus]) if c.split == split]
    sounds = {c: as_int16(read_audio(c.path)) for c in background}
    speech, noise = ([x for c, x in sounds.items() if (c.kind == "speech") is talk] for talk in (True, False))
    return Augmenter(AugmentConfig(), noise, speech, window_samples(settings.window_s))


def windows(
    clips: Sequence[Clip], near: Sequence[Clip], split: str, surroundings: Augmenter, settings: TrainConfig
) -> WindowSet:
    train = split == "train"
    return plan_windows(
        [c for c in clips if c.split == split],
        PHRASES,
        surroundings,
        versions=4 if train else 2,
        negatives=NEGATIVES if train else NEGATIVES // 8,
        seed=settings.seed if train else settings.seed + 1,
        near=near,
    )


def export_rows(net: AllRows, dev: WindowSet, settings: TrainConfig, path: Path) -> None:
    """The bundle that is listened with: int8, as a user's would be."""
    order = np.random.default_rng(1).permutation(len(dev))[:16]
    audio = torch.from_numpy(np.stack([dev.render(int(i)) for i in order]))
    with torch.inference_mode():
        mel = net.encoder_input(audio).numpy()
    _, int8, parity = export_verifier(net, mel, {"phrases": net.phrases})
    print(parity, flush=True)
    save_bundle(path, draft_bundle(net, int8, "text-only", settings, {"policy": "head"}))


def dropped(clips: Sequence[Clip], heard: np.ndarray) -> dict[str, str]:
    """Share of each engine's clips that are not heard as their phrase."""
    engines = np.array([clip.path.parent.name.partition(".")[0] for clip in clips])
    return {
        str(e): f"{(~heard[engines == e]).mean():.0%} of {(engines == e).sum()}" for e in np.unique(engines)
    }
