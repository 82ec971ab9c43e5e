"""One training by several processes that torchrun started: each learns from its part of every batch.

They learn what one process would from the whole batch, to rounding: a batch's loss is divided by the weight
of all its windows, gradients are averaged by torch's DistributedDataParallel, dropout is drawn for the whole
batch, and losses that decide anything are summed over all. The first one, rank 0, alone writes and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from wakeword.errors import UsageError

PATIENCE = timedelta(days=7)
"""How long the others wait while the first makes features."""

Rows = npt.NDArray[np.int64]


class Ranks:
    """This process among all that train together; by itself it is the only one."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        self.whole = 0
        """Windows in the batch under way."""

    @property
    def is_first(self) -> bool:
        """Whether it is this process that writes and speaks."""
        return self.rank == 0

    def per_rank(self, batch: int) -> int:
        """Windows of a whole batch for each process; UsageError where they cannot be dealt evenly."""
        if batch % self.world:
            raise UsageError(f"batches of {batch} windows cannot be dealt evenly to {self.world} processes")
        return batch // self.world

    def part(self, order: Rows, batch: int) -> Rows:
        """This process's windows of an order that is gone through in batches of so many.

        Cut into batches of `per_rank` they are its parts of the batches. Where the last one has none for it,
        it takes a window that counts nothing; see `share`.
        """
        return np.concatenate([self.own(order[at : at + batch]) for at in range(0, len(order), batch)])

    def own(self, rows: Rows) -> Rows:
        """This process's part of one batch, never empty."""
        return rows[self.rank :: self.world] if len(rows) > self.rank else rows[:1]

    def batches(self, order: Rows, batch: int) -> Iterator[Rows]:
        """The whole batches, each announced to what draws dropout for it."""
        for at in range(0, len(order), batch):
            self.whole = len(order[at : at + batch])
            yield order[at : at + batch]

    def share(self, part: Tensor, whole: Tensor) -> float:
        """What a part's mean loss is to be multiplied by, so that the average over all is the batch's mean.

        part, whole: what each window counts, [b] and [B].
        """
        if self.world == 1:
            return 1.0
        if self.rank >= len(whole):
            return 0.0
        return self.world * float(part.sum() / whole.sum())

    def wrap(self, net: nn.Module) -> nn.Module:
        """The net, whose gradients are then those of all; to be called in its stead."""
        if self.world == 1:
            return net
        for module in list(net.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Dropout):
                    setattr(module, name, _PartOfDropout(child.p, self))
        return DistributedDataParallel(net, broadcast_buffers=False)

    def sum(self, *values: float) -> list[float]:
        """Sums over all processes."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total)
        return [float(value) for value in total]

    @contextmanager
    def first(self) -> Iterator[None]:
        """The first process goes through the block before all others."""
        if not self.is_first:
            self.sum(0)
        yield
        if self.is_first:
            self.sum(0)

    def leave(self) -> None:
        """The part that all do together is over."""
        if self.world > 1:
            distributed.destroy_process_group()


ALONE = Ranks()


def join_ranks() -> Ranks:
    """This process among those that torchrun started, or by itself."""
    if not distributed.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return ALONE
    cuda = torch.cuda.is_available()
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    return Ranks(distributed.get_rank(), distributed.get_world_size())


class _PartOfDropout(nn.Module):
    """Dropout of this process's windows as one process draws it for the whole batch."""

    def __init__(self, p: float, ranks: Ranks) -> None:
        super().__init__()
        self.p, self._ranks = p, ranks

    def forward(self, x: Tensor) -> Tensor:
        """The same when not training. [b, ...]"""
        if not self.training:
            return x
        whole = nn.functional.dropout(x.new_ones(self._ranks.whole, *x.shape[1:]), self.p)
        return x * whole[self._ranks.own(np.arange(self._ranks.whole))]
