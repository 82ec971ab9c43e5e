"""A training run that can be interrupted: epochs, the average of the weights, checkpoints.

Ctrl-C or kill cost at most the epoch under way. Seeds belong to (run, epoch), so that a resumed run gives
what an uninterrupted one gives.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wakeword.errors import TrainingError
from wakeword.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from wakeword.train.ranks import ALONE, Ranks

log = logging.getLogger(__name__)


class Progress(Protocol):
    """Where the run reports how far it is."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """So many steps are done; `note` is shown beside the bar."""


class Schedule(Protocol):
    """What a run needs of its settings; see `wakeword.config.OptimConfig`."""

    @property
    def epochs(self) -> int:
        """Passes over the windows."""

    @property
    def patience(self) -> int:
        """Epochs without a lower dev loss after which it stops, 0 = never."""

    @property
    def batch(self) -> int:
        """Windows in a step."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def warmup(self) -> float:
        """Share of the steps over which the rate rises."""

    @property
    def averaging(self) -> float:
        """Decay per step of the average of the weights."""


@dataclass(frozen=True)
class History:
    """What happened, epoch by epoch."""

    train_loss: list[float] = field(default_factory=list)
    dev_loss: list[float] = field(default_factory=list)


Losses = Callable[[npt.NDArray[np.int64], int], Iterable[Tensor]]
"""(order of the windows, epoch) -> the loss of each batch, to be descended."""
DevLosses = Callable[[], Iterable[tuple[Tensor, float]]]
"""The mean loss of each batch of dev windows, and the weight of the batch: how much its windows count."""


class Run:
    """The state of a run between epochs: weights, their average, optimizer, history."""

    def __init__(
        self,
        net: nn.Module,
        groups: Sequence[dict[str, Any]],
        config: Schedule,
        n_windows: int,
        folder: Path,
        key: str,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        """Prepare to train those weights of `net` that are in `groups` (AdamW's, each with its peak `lr`).

        `key` names everything the run depends on: the checkpoint in `folder` is gone on with only where it
        has the same. Of several `ranks` the first saves, and the mean of their losses is the loss.
        """
        self.ranks = ranks
        self.net, self.config, self.folder, self.key, self.seed = net, config, folder, key, seed
        self.optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        self.peak_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        chosen = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        self.trained = {n: p for n, p in net.named_parameters() if id(p) in chosen}
        self.average = {n: p.detach().clone() for n, p in self.trained.items()}
        kept = net.state_dict()
        self.buffers = {n: b for n, b in net.named_buffers() if n in kept}
        """What a norm has seen; kept with the weights, not averaged."""
        self.best = self._averaged()
        self.epoch = self.step = 0
        self.n_windows = n_windows
        self.total = config.epochs * math.ceil(n_windows / config.batch)
        self.history = History()

    def fit(self, stage: str, losses: Losses, dev_losses: DevLosses, progress: Progress) -> History:
        """Train to the end, from the checkpoint if there is one.

        The net ends with the averaged weights of the epoch with the lowest dev loss, in evaluation mode.
        Raises TrainingError when the loss diverges, the disk is full or the checkpoint is damaged.
        """
        self._restore()
        progress.start(stage, self.config.epochs)
        progress.advance(self.epoch)
        while not self._done():
            self._one_epoch(losses, dev_losses)
            progress.advance(1, f"dev loss {self.history.dev_loss[-1]:.4f}")
        if left := self.config.epochs - self.epoch:
            progress.advance(
                left, f"stopped at {self.epoch}: dev loss was lowest {self.config.patience} before"
            )
        self._put(self.best)
        self.net.eval()
        return self.history

    def _done(self) -> bool:
        since_best = self.epoch - 1 - int(np.argmin(self.history.dev_loss)) if self.epoch else 0
        return self.epoch >= self.config.epochs or 0 < self.config.patience <= since_best

    def _one_epoch(self, losses: Losses, dev_losses: DevLosses) -> None:
        torch.manual_seed(self.seed * 100_003 + self.epoch)  # dropout
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n_windows)
        self.net.train()
        self.history.train_loss.append(
            float(np.mean([self._step(loss) for loss in losses(order, self.epoch)]))
        )
        self.history.dev_loss.append(self._dev_loss(dev_losses))
        if self.history.dev_loss[-1] <= min(self.history.dev_loss):
            self.best = self._averaged()
        self.epoch += 1
        if self.ranks.is_first:
            self._save()

    def _step(self, loss: Tensor) -> float:
        value = self._finite(self.ranks.sum(float(loss.detach()))[0] / self.ranks.world)
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
            raise TrainingError(f"the loss became {loss} in epoch {self.epoch + 1}; lower the learning_rate")
        return loss

    def _dev_loss(self, dev_losses: DevLosses) -> float:
        current = {n: p.detach().clone() for n, p in self.trained.items()}
        self._put(self.average)
        self.net.eval()
        with torch.inference_mode():
            losses = [(float(loss), weight) for loss, weight in dev_losses()]
        self._put(current)
        loss, weight = self.ranks.sum(sum(loss * w for loss, w in losses), sum(w for _, w in losses))
        return self._finite(loss / weight)

    def _put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                (self.trained[name] if name in self.trained else self.buffers[name]).copy_(value)

    def _averaged(self) -> dict[str, Tensor]:
        return {n: t.clone() for n, t in (*self.average.items(), *self.buffers.items())}

    def _save(self) -> None:
        tensors = {f"{part}/{n}": t for part, weights in self._weights().items() for n, t in weights.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{name}": torch.as_tensor(value) for name, value in state.items()}
        meta = {"key": self.key, "epoch": self.epoch, "step": self.step, "history": asdict(self.history)}
        save_checkpoint(self.folder, tensors, meta)

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        current = {**self.trained, **self.buffers}
        return {"current": current, "average": self.average, "best": self.best}

    def _restore(self) -> None:
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


def rate_schedule(progress: float, warmup: float) -> float:
    """Share of the peak rate after `progress` (0 to 1) of all steps: linear warm-up, cosine to zero."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
