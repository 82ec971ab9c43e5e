"""Fit the new layers, and as much of the encoder as the policy says, to labelled windows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wakeword.config import OptimConfig
from wakeword.train.features import (
    FromMel,
    LogMelRows,
    MakesFeatures,
    cache_encoded,
    cache_log_mel,
    render_batches,
)
from wakeword.train.model import WakewordNet
from wakeword.train.policy import Policy, apply_policy, parameter_groups
from wakeword.train.ranks import ALONE, Ranks
from wakeword.train.run import History, Progress, Run
from wakeword.train.windows import WindowSet


class _Examples:
    """Inputs and targets of a window set: cached features, or windows rendered anew each epoch."""

    def __init__(self, windows: WindowSet, features: npt.NDArray[np.float16] | None) -> None:
        self._windows, self._features = windows, features

    def scored_by(self, net: WakewordNet) -> nn.Module:
        """What makes logits of the inputs."""
        return net if self._features is None else net.head

    def batches(
        self, net: WakewordNet, score: nn.Module, order: npt.NDArray[np.int64], batch: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(logits [B, K], targets [B, K]) in the given order, on the net's device; see `scored_by`."""
        device = net.head.output.weight.device
        starts = range(0, len(order), batch)
        if self._features is None:
            rendered = render_batches(self._windows, order, batch, epoch)
            inputs: Iterator[Tensor] = (net.encoder_input(x.to(device)) for x in rendered)
        else:
            features = self._features
            inputs = (torch.from_numpy(features[order[s : s + batch]]).to(device).float() for s in starts)
        for start, x in zip(starts, inputs, strict=True):
            targets = torch.from_numpy(self._windows.targets[order[start : start + batch]]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = score(x)
            yield logits.float(), targets


def fine_tune(
    net: WakewordNet,
    train: WindowSet,
    dev: WindowSet,
    policy: Policy,
    config: OptimConfig,
    workspace: Path,
    key: str,
    seed: int,
    progress: Progress,
    frozen: MakesFeatures | None = None,
    ranks: Ranks = ALONE,
) -> History:
    """Train `net` in place; it ends with the averaged weights of the epoch with the lowest dev loss.

    `workspace` keeps the features and the checkpoint. `key` names everything the run depends on: a checkpoint
    with the same key is gone on with, any other is started over.

    `frozen` makes the features that are cached where the encoder is left as it is; None = `net` itself.
    Of several `ranks` the first makes features, and each learns from its part of every batch.

    Raises TrainingError when the loss diverges or the disk is full.
    """
    rows, batch = train.rows(), ranks.per_rank(config.batch)
    apply_policy(net.encoder, policy)
    with ranks.first():
        sets = [
            _examples(frozen or net, w, policy, workspace / name, key, progress, net.encoder.input == "mel")
            for name, w in (("train", train), ("dev", dev))
        ]
    dev_rows = np.arange(ranks.rank, len(dev), ranks.world)
    weights = partial(window_weights, negative_weight=config.negative_weight)
    score = ranks.wrap(sets[0].scored_by(net))

    def losses(order: npt.NDArray[np.int64], epoch: int) -> Iterator[Tensor]:
        chosen = rows[order]
        wholes = ranks.batches(chosen, config.batch)
        parts = sets[0].batches(net, score, ranks.part(chosen, config.batch), batch, epoch)
        for whole, (logits, targets) in zip(wholes, parts, strict=True):
            share = ranks.share(weights(targets), weights(torch.from_numpy(train.targets[whole])))
            yield weighted_loss(logits, targets, config.negative_weight) * share

    def dev_losses() -> Iterator[tuple[Tensor, float]]:
        for logits, targets in sets[1].batches(net, score, dev_rows, batch, 0):
            yield weighted_loss(logits, targets, config.negative_weight), float(weights(targets).sum())

    groups = [
        {"params": list(net.head.parameters()), "lr": config.learning_rate},
        *parameter_groups(net.encoder, config.encoder_rate, config.layer_decay),
    ]
    run = Run(net, groups, config, len(rows), workspace / "checkpoint", key, seed, ranks)
    return run.fit("fine-tune", losses, dev_losses, progress)


def _examples(
    net: MakesFeatures,
    windows: WindowSet,
    policy: Policy,
    path: Path,
    key: str,
    progress: Progress,
    takes_mel: bool,
) -> _Examples:
    if policy.name != "head":
        return _Examples(windows, None)
    if takes_mel:
        rows = LogMelRows(cache_log_mel(windows, path, key, progress))
        return _Examples(windows, cache_encoded(FromMel(net), rows, path, key, progress))
    return _Examples(windows, cache_encoded(net, windows, path, key, progress))


def weighted_loss(logits: Tensor, targets: Tensor, negative_weight: float) -> Tensor:
    """Binary cross-entropy of [B, K] logits, summed over phrases; windows without any phrase count more."""
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    weights = window_weights(targets, negative_weight)
    return (losses * weights).sum() / weights.sum()


def window_weights(targets: Tensor, negative_weight: float) -> Tensor:
    """What each window of targets [B, K] counts [B]: `negative_weight` without any phrase, else 1."""
    return torch.where(targets.any(dim=1), 1.0, negative_weight)
