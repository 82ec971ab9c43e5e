"""Fit the new layers, and as much of the encoder as the policy says, to labelled windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wakeword.config import OptimConfig
from wakeword.train.features import (
    FromKept,
    KeptRows,
    MakesFeatures,
    cache_encoded,
    cache_log_mel,
    render_batches,
)
from wakeword.train.model import Upper, WakewordNet
from wakeword.train.policy import HEAD, Policy, apply_policy, parameter_groups
from wakeword.train.ranks import ALONE, Ranks
from wakeword.train.run import History, Progress, Run
from wakeword.train.windows import WindowSet


class _Examples:
    """Inputs and targets of a window set: what is kept of its windows, or they rendered anew each epoch."""

    def __init__(self, windows: WindowSet, kept: npt.NDArray[np.float16] | None) -> None:
        self.windows, self._kept = windows, kept

    def batches(
        self,
        net: WakewordNet,
        score: nn.Module,
        order: npt.NDArray[np.int64],
        batch: int,
        epoch: int,
        half: bool,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(logits [B, K] by `score`, targets [B, K]) in the given order, on the net's device."""
        device = net.head.output.weight.device
        starts = range(0, len(order), batch)
        if self._kept is None:
            rendered = render_batches(self.windows, order, batch, epoch)
            inputs: Iterator[Tensor] = (net.encoder_input(x.to(device)) for x in rendered)
        else:
            kept = self._kept
            inputs = (torch.from_numpy(kept[order[s : s + batch]]).to(device).float() for s in starts)
        for start, x in zip(starts, inputs, strict=True):
            targets = torch.from_numpy(self.windows.targets[order[start : start + batch]]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                logits = score(x)
            yield logits.float(), targets


@dataclass(frozen=True)
class Kept:
    """What is made of every window once, so that no epoch makes it again; see `fine_tune`."""

    frozen: MakesFeatures
    """Features, where the encoder is left as it is; else what its retrained blocks are given (`Lower`)."""
    above: MakesFeatures | None = None
    """Features of what retrained blocks are given, by these blocks as they are now (`Upper`)."""


@dataclass(frozen=True)
class Course:
    """How a net is trained, and where what it needs is kept."""

    optim: OptimConfig
    workspace: Path
    """Takes the features and the checkpoints."""
    key: str
    """Names everything the run depends on: a checkpoint with the same key is gone on with, any other is
    started over."""
    seed: int
    progress: Progress
    kept: Kept | None = None
    """Makes what is kept; None = the net itself where the encoder is left as it is, nothing elsewhere."""
    ranks: Ranks = ALONE
    """Of several the first makes features, and each learns from its part of every batch."""

    def keeps(self, policy: Policy) -> bool:
        """Whether every window is made once; else it is rendered anew in each epoch."""
        return self.kept is not None or not policy.n_blocks


def fine_tune(net: WakewordNet, train: WindowSet, dev: WindowSet, policy: Policy, course: Course) -> History:
    """Train `net` in place; it ends with the averaged weights of the epoch with the lowest dev loss.

    Where the encoder is left as it is, only its features are needed, and they are kept. Where the policy
    retrains blocks, windows are rendered anew each epoch and go through all of the net; or, with
    `course.kept`, what is below those blocks hears every window once, the new layers are fitted alone, and
    the blocks after them for `top_epochs` (gradual unfreezing: Howard & Ruder 2018,
    https://arxiv.org/abs/1801.06146).

    Raises TrainingError when the loss diverges or the disk is full.
    """
    fit = partial(_fit, net, course)
    name = f"checkpoint-{len(train.mined)}-mined" if train.mined else "checkpoint"
    if not course.keeps(policy):
        return fit([_Examples(windows, None) for windows in (train, dev)], net, policy, course.optim, name)
    kept, paths = course.kept or Kept(net), [course.workspace / split for split in ("train", "dev")]
    with course.ranks.first():
        rows = [
            _kept(kept.frozen, windows, path, course, net.encoder.input)
            for windows, path in zip((train, dev), paths, strict=True)
        ]
        features = [
            cache_above(kept.above, part, path, f"{course.key} as pretrained", course.progress)
            if kept.above
            else part
            for part, path in zip(rows, paths, strict=True)
        ]
    history = fit(_pairs(train, dev, features), net.head, HEAD, course.optim, name)
    if not policy.n_blocks:
        return history
    optim = replace(
        course.optim,
        epochs=course.optim.top_epochs,
        learning_rate=course.optim.top_learning_rate,
        encoder_rate=course.optim.top_encoder_rate,
    )
    return fit(_pairs(train, dev, rows), Upper(net, policy.n_blocks), policy, optim, "checkpoint-top")


def _pairs(train: WindowSet, dev: WindowSet, kept: Sequence[npt.NDArray[np.float16]]) -> list[_Examples]:
    return [_Examples(windows, rows) for windows, rows in zip((train, dev), kept, strict=True)]


def _fit(
    net: WakewordNet,
    course: Course,
    sets: Sequence[_Examples],
    score: nn.Module,
    policy: Policy,
    config: OptimConfig,
    name: str,
) -> History:
    """Train what the policy says; `score`, which is or is in `net`, makes logits of the inputs of `sets`.

    `name` is the checkpoint's.
    """
    (train, dev), ranks = sets, course.ranks
    learnt, batch = train.windows.rows(), ranks.per_rank(config.batch)
    apply_policy(net.encoder, policy)
    half = _half_precision(net.head.output.weight.device, score)
    dev_rows = np.arange(ranks.rank, len(dev.windows), ranks.world)
    weights = partial(window_weights, negative_weight=config.negative_weight)
    score = ranks.wrap(score)

    def losses(order: npt.NDArray[np.int64], epoch: int) -> Iterator[Tensor]:
        chosen = learnt[order]
        wholes = ranks.batches(chosen, config.batch)
        parts = train.batches(net, score, ranks.part(chosen, config.batch), batch, epoch, half)
        for whole, (logits, targets) in zip(wholes, parts, strict=True):
            share = ranks.share(weights(targets), weights(torch.from_numpy(train.windows.targets[whole])))
            yield weighted_loss(logits, targets, config.negative_weight) * share

    def dev_losses() -> Iterator[tuple[Tensor, float]]:
        for logits, targets in dev.batches(net, score, dev_rows, batch, 0, half):
            yield weighted_loss(logits, targets, config.negative_weight), float(weights(targets).sum())

    groups = [
        {"params": list(net.head.parameters()), "lr": config.learning_rate},
        *parameter_groups(net.encoder, config.encoder_rate, config.layer_decay),
    ]
    folder = course.workspace / name
    run = Run(net, groups, config, len(learnt), folder, course.key, course.seed, ranks)
    stage = f"fine-tune {policy.name}" if policy.n_blocks else "fine-tune"
    return run.fit(stage, losses, dev_losses, course.progress)


def _kept(
    keeps: MakesFeatures, windows: WindowSet, path: Path, course: Course, takes: str
) -> npt.NDArray[np.float16]:
    how = (path, course.key, course.progress)
    if takes == "mel":
        return cache_encoded(FromKept(keeps), KeptRows(cache_log_mel(windows, *how)), *how)
    return cache_encoded(keeps, windows, *how)


def cache_above(
    makes: MakesFeatures, rows: npt.NDArray[np.float16], path: Path, key: str, progress: Progress
) -> npt.NDArray[np.float16]:
    """Features of what retrained blocks are given [N, F, D], kept in `<path>-features.npy`.

    They are large, and needed before and after the blocks are retrained, never at once: of two keys the later
    takes the place of the other.
    """
    return cache_encoded(
        FromKept(makes), KeptRows(rows), path.with_name(f"{path.name}-features"), key, progress
    )


def _half_precision(device: torch.device, score: nn.Module) -> bool:
    """Whether products are of bfloat16: on a GPU, and in retrained blocks on a CPU that has units for them.

    That takes half the time. All else on a CPU stays exact.
    """
    if device.type == "cuda":
        return True
    return isinstance(score, Upper) and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def weighted_loss(logits: Tensor, targets: Tensor, negative_weight: float) -> Tensor:
    """Binary cross-entropy of [B, K] logits, summed over phrases; windows without any phrase count more."""
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    weights = window_weights(targets, negative_weight)
    return (losses * weights).sum() / weights.sum()


def window_weights(targets: Tensor, negative_weight: float) -> Tensor:
    """What each window of targets [B, K] counts [B]: `negative_weight` without any phrase, else 1."""
    return torch.where(targets.any(dim=1), 1.0, negative_weight)
