"""One cell of transfer.py: which clips and how much of the encoder is trained; what the result misses."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cached_streams import TEST, Streams, judge, trace_of
from cells import Silent
from subset import PHRASES
from torch import Tensor, nn
from transfer_data import (
    ENCODER,
    WINDOW,
    Features,
    Settings,
    StreamRows,
    Windows,
    load_features,
    load_streams,
    load_windows,
)

from export.quick_features import QuickFeatures
from wakeword.config import OptimConfig, TrainConfig
from wakeword.decision import DecisionConfig
from wakeword.mel import n_samples
from wakeword.train.encoders import build_encoder
from wakeword.train.finetune import weighted_loss, window_weights
from wakeword.train.head import Head
from wakeword.train.model import WakewordNet, build_net
from wakeword.train.policy import apply_policy, choose_policy, parameter_groups
from wakeword.train.run import History, Run

Scores = npt.NDArray[np.float32]
"""Of N windows for K phrases, or what they are to be [N, K]."""
DECISION = DecisionConfig(smoothing_hops=1)
"""Scores come at every third hop, so none are averaged; else as a listener has it."""
RANDOM_RATE = 5e-4
"""Peak rate of the encoder where it starts from random weights: there is nothing to be kept."""
SCORED_AT_ONCE = 256
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""On a GPU each cell runs the encoder; on a CPU what a frozen one says is computed once for all."""


@dataclass(frozen=True)
class Cell:
    """What is trained, on how much."""

    clips: int
    """Of each phrase; 0 = all."""
    kept: int = 4
    """Blocks of the encoder."""
    tune: str = "head"
    """head, top-K or all of a pretrained encoder; random: all of one that starts from random weights."""
    versions: int = 0
    """Windows used of each clip; 0 = all."""
    negatives: int = 0
    """Windows without a phrase; 0 = all."""
    epochs: int = 6
    seed: int = 1
    """Draws the clips and the first weights."""

    def name(self) -> str:
        """Of its file."""
        return (
            f"{self.tune}-{self.kept}blocks-{self.clips or 'all'}clips-{self.versions or 'all'}versions-"
            f"{self.negatives or 'all'}negatives-{self.epochs}epochs-seed{self.seed}"
        )


def run_cell(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Train it and judge it on the streams; everything shared is read from the caches."""
    torch.set_num_threads(1)
    start = time.monotonic()
    windows, streams = load_windows(settings), load_streams(settings)
    if cell.tune == "head" and DEVICE.type == "cpu":
        scores, history = _frozen(cell, settings, windows, streams)
    else:
        scores, history = _whole(cell, settings, windows, streams)
    facts = {"dev_loss": min(history.dev_loss), "seconds": time.monotonic() - start}
    return {**judge_scores(streams, scores, settings.stride), **facts}


def judge_scores(streams: Streams, scores: Mapping[str, Scores], stride: int) -> dict[str, Any]:
    """As `judge`, from the scores at all hops asked for, of the streams that were heard."""
    traces = {
        name: [
            trace_of(heard, hops, found, PHRASES)
            for heard, hops, found in zip(part, rows.hops, rows.split(scores[name]), strict=True)
        ]
        for name, part in streams.items()
        if name in scores
        for rows in [StreamRows(part, stride)]
    }
    return judge(streams, traces, PHRASES, DECISION)


def rows_of(cell: Cell, windows: Windows) -> npt.NDArray[np.int64]:
    """Windows that the cell may use: of its clips, drawn by its seed, and without any."""
    rng = np.random.default_rng(cell.seed)
    chosen = list[int]()
    for phrase in PHRASES:
        of_phrase = [i for i, clip in enumerate(windows.clips) if clip.label == phrase]
        chosen += rng.permutation(of_phrase)[: cell.clips or None].tolist()
    positive = np.flatnonzero(np.isin(windows.clip_of, chosen))
    seen = np.zeros(len(windows.clips), dtype=np.int64)
    kept = list[int]()
    for i in positive:
        seen[windows.clip_of[i]] += 1
        if not cell.versions or seen[windows.clip_of[i]] <= cell.versions:
            kept.append(int(i))
    negative = np.flatnonzero(windows.clip_of < 0)[: cell.negatives or None]
    return np.asarray([*kept, *negative], dtype=np.int64)


def _frozen(
    cell: Cell, settings: Settings, windows: dict[str, Windows], streams: Streams
) -> tuple[dict[str, Scores], History]:
    """A head on the features that are kept."""
    features = load_features(settings, [*windows, *streams], cell.kept)
    rows = rows_of(cell, windows["train"])
    inputs = {"train": np.asarray(features["train"][rows]), "dev": np.asarray(features["dev"])}
    targets = {"train": windows["train"].targets[rows], "dev": windows["dev"].targets}
    head, history = train_head(inputs, targets, kept=cell.kept, epochs=cell.epochs, seed=cell.seed)
    return {name: posteriors(head, features[name]) for name in streams}, history


def train_head(
    inputs: dict[str, Features], targets: dict[str, Scores], *, kept: int, epochs: int, seed: int
) -> tuple[Head, History]:
    """A head for the encoder's first `kept` blocks, from features of train and dev; `seed` draws it."""
    head = build_net(PHRASES, TrainConfig(encoder=ENCODER, blocks=kept, seed=seed)).head
    groups = [{"params": list(head.parameters()), "lr": OptimConfig().learning_rate}]
    return head, _fit(head, groups, inputs, targets, epochs, seed)


def _whole(
    cell: Cell, settings: Settings, windows: dict[str, Windows], streams: Streams
) -> tuple[dict[str, Scores], History]:
    """Encoder and head from log-mel; of the encoder, what the cell says is trained too."""
    net = build_net(PHRASES, TrainConfig(encoder=ENCODER, blocks=cell.kept, seed=cell.seed))
    optim, random = OptimConfig(), cell.tune == "random"
    if random:
        torch.manual_seed(cell.seed)
        net = WakewordNet(build_encoder(ENCODER, cell.kept), PHRASES, TrainConfig().head)
        optim = replace(optim, encoder_rate=RANDOM_RATE, layer_decay=1.0)
    net = net.to(DEVICE)
    apply_policy(net.encoder, choose_policy("all" if random else cell.tune, 0.0, DEVICE.type, cell.kept))
    rows = rows_of(cell, windows["train"])
    dev = np.flatnonzero(windows["dev"].clip_of >= 0)[::2]
    dev = np.concatenate([dev, np.flatnonzero(windows["dev"].clip_of < 0)[: len(dev)]])
    inputs = {
        "train": windows["train"].mel[rows][:, :, -WINDOW:],
        "dev": windows["dev"].mel[dev][:, :, -WINDOW:],
    }
    targets = {"train": windows["train"].targets[rows], "dev": windows["dev"].targets[dev]}
    groups = [
        {"params": list(net.head.parameters()), "lr": optim.learning_rate},
        *parameter_groups(net.encoder, optim.encoder_rate, optim.layer_decay),
    ]
    history = _fit(net, groups, inputs, targets, cell.epochs, cell.seed)
    return {
        name: _listen(net, StreamRows(part, settings.stride))
        for name, part in streams.items()
        if name != TEST or DEVICE.type == "cuda"
    }, history


def _fit(
    net: nn.Module,
    groups: list[dict[str, Any]],
    inputs: dict[str, Features],
    targets: dict[str, Scores],
    epochs: int,
    seed: int,
) -> History:
    """Train as `wakeword train` does, from arrays."""
    config, device = replace(OptimConfig(), epochs=epochs), next(net.parameters()).device
    wanted = {name: torch.from_numpy(part) for name, part in targets.items()}

    def batches(name: str, order: npt.NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        for at in range(0, len(order), config.batch):
            rows = order[at : at + config.batch]
            x = torch.from_numpy(inputs[name][rows]).to(device).float()
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = net(x)
            yield logits.float(), wanted[name][rows].to(device)

    def losses(order: npt.NDArray[np.int64], epoch: int) -> Iterator[Tensor]:
        return (weighted_loss(x, y, config.negative_weight) for x, y in batches("train", order))

    def dev_losses() -> Iterator[tuple[Tensor, float]]:
        for x, y in batches("dev", np.arange(len(targets["dev"]))):
            weight = float(window_weights(y, config.negative_weight).sum())
            yield weighted_loss(x, y, config.negative_weight), weight

    with tempfile.TemporaryDirectory() as folder:
        run = Run(net, groups, config, len(targets["train"]), Path(folder), "cell", seed)
        return run.fit("cell", losses, dev_losses, Silent())


def posteriors(head: Head, features: Features) -> Scores:
    """What a head says of each window. [N, F, D] -> [N, K]."""
    with torch.inference_mode():
        parts = [
            torch.sigmoid(head(torch.from_numpy(features[i : i + SCORED_AT_ONCE].astype(np.float32))))
            for i in range(0, len(features), SCORED_AT_ONCE)
        ]
    return torch.cat([torch.zeros(0, len(PHRASES)), *parts]).numpy()


def _listen(net: WakewordNet, rows: StreamRows) -> Scores:
    """Posteriors of a retrained net at every window asked for; on a CPU its encoder in int8, as exported."""
    net.eval()
    if not len(rows):
        return np.zeros((0, len(PHRASES)), dtype=np.float32)
    if DEVICE.type == "cuda":
        return _in_batches(net, rows)
    quick = QuickFeatures(net, np.zeros(n_samples(WINDOW), dtype=np.float32))
    with torch.inference_mode():
        found = [
            torch.sigmoid(net.head(quick.features(torch.from_numpy(rows.render(i))[None]).float()))
            for i in range(len(rows))
        ]
    return torch.cat(found).numpy()


def _in_batches(net: WakewordNet, rows: StreamRows) -> Scores:
    starts = range(0, len(rows), SCORED_AT_ONCE)
    with torch.inference_mode():
        found = [
            torch.sigmoid(net(torch.from_numpy(rows.render_rows(i, i + SCORED_AT_ONCE)).to(DEVICE))).cpu()
            for i in starts
        ]
    return torch.cat(found).numpy()
