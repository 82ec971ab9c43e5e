"""Fit the new layers, and as much of the encoder as the policy says, to labelled windows.

Interrupted by Ctrl-C or kill, a run goes on from its last epoch. Seeds belong to (run, epoch, window),
so a resumed run gives what an uninterrupted one gives.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wakeword.config import OptimConfig
from wakeword.errors import TrainingError
from wakeword.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from wakeword.train.features import cache_features, render_batches
from wakeword.train.model import WakewordNet
from wakeword.train.policy import Policy, apply_policy, parameter_groups
from wakeword.train.windows import WindowSet

log = logging.getLogger(__name__)


class Progress(Protocol):
    """Where the run reports how far it is."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """So many steps are done; `note` is shown beside the bar."""


@dataclass(frozen=True)
class History:
    """What happened, epoch by epoch."""

    train_loss: list[float] = field(default_factory=list)
    dev_loss: list[float] = field(default_factory=list)


class _Examples:
    """Inputs and targets of a window set: cached features, or windows rendered anew each epoch."""

    def __init__(self, windows: WindowSet, features: npt.NDArray[np.float16] | None) -> None:
        self._windows, self._features = windows, features

    def batches(
        self, net: WakewordNet, order: npt.NDArray[np.int64], batch: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(logits [B, K], targets [B, K]) in the given order, on the net's device."""
        device = net.head.output.weight.device
        starts = range(0, len(order), batch)
        if self._features is None:
            rendered = render_batches(self._windows, order, batch, epoch)
            inputs: Iterator[Tensor] = (net.encoder_input(x.to(device)) for x in rendered)
            score: Callable[[Tensor], Tensor] = net
        else:
            features = self._features
            inputs = (torch.from_numpy(features[order[s : s + batch]]).to(device).float() for s in starts)
            score = net.head
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
) -> History:
    """Train `net` in place; it ends with the averaged weights of the epoch with the lowest dev loss.

    `workspace` keeps the features and the checkpoint. `key` names everything the run depends on: a checkpoint
    with the same key is gone on with, any other is started over.

    Raises TrainingError when the loss diverges or the disk is full.
    """
    apply_policy(net.encoder, policy)
    sets = [
        _examples(net, w, policy, workspace / name, key, progress)
        for name, w in (("train", train), ("dev", dev))
    ]
    run = _Run(net, config, workspace / "checkpoint", key, seed, total=_n_steps(len(train), config))
    run.restore()
    progress.start("fine-tune", config.epochs)
    progress.advance(run.epoch)
    while run.epoch < config.epochs:
        note = run.one_epoch(sets[0], sets[1], len(train), len(dev))
        progress.advance(1, note)
    run.finish()
    return run.history


def _n_steps(n_windows: int, config: OptimConfig) -> int:
    return config.epochs * math.ceil(n_windows / config.batch)


def _examples(
    net: WakewordNet, windows: WindowSet, policy: Policy, path: Path, key: str, progress: Progress
) -> _Examples:
    if policy.name != "head":
        return _Examples(windows, None)
    progress.start(f"features of {path.name} windows", len(windows))
    path.parent.mkdir(parents=True, exist_ok=True)
    net.eval()
    return _Examples(windows, cache_features(net, windows, path.with_suffix(".npy"), key, progress.advance))


class _Run:
    """The state of a run between epochs: weights, their average, optimizer, history."""

    def __init__(
        self,
        net: WakewordNet,
        config: OptimConfig,
        folder: Path,
        key: str,
        seed: int,
        total: int,
    ) -> None:
        self.net, self.config, self.folder, self.key, self.seed = net, config, folder, key, seed
        groups = [
            {"params": list(net.head.parameters()), "lr": config.learning_rate},
            *parameter_groups(net.encoder, config.encoder_rate, config.layer_decay),
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        self.peak_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.trained = {n: p for n, p in net.named_parameters() if p.requires_grad or n.startswith("head.")}
        self.average = {n: p.detach().clone() for n, p in self.trained.items()}
        self.best = {n: p.clone() for n, p in self.average.items()}
        self.epoch = self.step = 0
        self.total = total
        self.history = History()

    def one_epoch(self, train: _Examples, dev: _Examples, n_train: int, n_dev: int) -> str:
        torch.manual_seed(self.seed * 100_003 + self.epoch)  # dropout
        order = np.random.default_rng([self.seed, self.epoch]).permutation(n_train)
        self.net.train()
        losses = []
        for logits, targets in train.batches(self.net, order, self.config.batch, self.epoch):
            losses.append(self._step(weighted_loss(logits, targets, self.config.negative_weight)))
        self.history.train_loss.append(float(np.mean(losses)))
        self.history.dev_loss.append(self._dev_loss(dev, n_dev))
        if self.history.dev_loss[-1] <= min(self.history.dev_loss):
            self.best = {n: p.clone() for n, p in self.average.items()}
        self.epoch += 1
        self._save()
        return f"dev loss {self.history.dev_loss[-1]:.4f}"

    def _step(self, loss: Tensor) -> float:
        value = self._finite(float(loss.detach()))
        scale = rate_schedule(self.step / self.total, self.config.warmup)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * scale
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        self.step += 1
        # A young average forgets its random start sooner.
        decay = min(self.config.averaging, (1 + self.step) / (10 + self.step))
        for name, parameter in self.trained.items():
            self.average[name].lerp_(parameter.detach(), 1 - decay)
        return value

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {self.epoch + 1}; lower optim.learning_rate"
            )
        return loss

    def _dev_loss(self, dev: _Examples, n_dev: int) -> float:
        current = {n: p.detach().clone() for n, p in self.trained.items()}
        self._put(self.average)
        self.net.eval()
        with torch.inference_mode():
            losses = [
                float(weighted_loss(logits, targets, self.config.negative_weight)) * len(targets)
                for logits, targets in dev.batches(self.net, np.arange(n_dev), self.config.batch, 0)
            ]
        self._put(current)
        return self._finite(float(np.sum(losses) / n_dev))

    def _put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])

    def finish(self) -> None:
        self._put(self.best)
        self.net.eval()

    def _save(self) -> None:
        tensors = {f"{part}/{n}": t for part, weights in self._weights().items() for n, t in weights.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{name}": torch.as_tensor(value) for name, value in state.items()}
        meta = {"key": self.key, "epoch": self.epoch, "step": self.step, "history": asdict(self.history)}
        save_checkpoint(self.folder, tensors, meta)

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {"current": dict(self.trained), "average": self.average, "best": self.best}

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one with the same key; TrainingError for a damaged one."""
        if not has_checkpoint(self.folder):
            return
        tensors, meta = load_checkpoint(self.folder)
        if meta["key"] != self.key:
            log.info("the checkpoint in %s is of another run; starting over", self.folder)
            return
        self.epoch, self.step = int(meta["epoch"]), int(meta["step"])
        self.history = History(**meta["history"])
        for part, weights in self._weights().items():
            for name, target in weights.items():
                target.data = tensors[f"{part}/{name}"].to(target)
        self._restore_optimizer(tensors)

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        states: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, i, key = name.split("/")
                states.setdefault(int(i), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})


def weighted_loss(logits: Tensor, targets: Tensor, negative_weight: float) -> Tensor:
    """Binary cross-entropy of [B, K] logits, summed over phrases; windows without any phrase count more."""
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    weights = torch.where(targets.any(dim=1), 1.0, negative_weight)
    return (losses * weights).sum() / weights.sum()


def rate_schedule(progress: float, warmup: float) -> float:
    """Share of the peak rate after `progress` (0 to 1) of all steps: linear warm-up, cosine to zero."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
