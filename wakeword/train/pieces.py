"""A batch in pieces, each learnt from by a thread of its own.

torch's own threads wait for each other within every operation: with a small network two of them gain a tenth.
Threads that meet once a batch gain two thirds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from wakeword.machine import processors

MOST = 4
"""Pieces of a batch, which norms are to find large enough."""

AnyNet = TypeVar("AnyNet", bound=nn.Module)


class Pieces(Generic[AnyNet]):
    """The network with a copy for each further piece, which has its weights; a context manager.

    As many pieces as there are processors, four at most. A GPU takes a batch whole.

    The copies' norms see their own pieces alone; the running statistics that are kept are those of the first,
    as where several processes train together.
    """

    def __init__(self, net: AnyNet) -> None:
        n = 1 if any(p.is_cuda for p in net.parameters()) else min(processors(), MOST)
        self.nets = [net, *(deepcopy(net) for _ in range(n - 1))]
        self._pool = ThreadPoolExecutor(n)

    def __len__(self) -> int:
        return len(self.nets)

    def __enter__(self) -> Pieces[AnyNet]:
        self._threads = torch.get_num_threads()
        if len(self) > 1:
            torch.set_num_threads(1)  # threads that have not begun yet take it over
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def loss(self, loss_of: Callable[[AnyNet, int], Tensor], weights: Sequence[float]) -> Tensor:
        """The mean of the losses of all pieces, by weight; those without weight are left out.

        `loss_of(net, i)` is asked in a thread for the loss of piece i by this network. What is returned can
        be descended: its gradients are known already.
        """
        net = self.nets[0]
        if len(self) == 1:
            return loss_of(net, 0)
        shares = [weight / sum(weights) for weight in weights]
        parts = list(self._pool.map(self._part, [loss_of] * len(self), range(len(self)), shares))
        value = torch.stack([loss for loss, _ in parts]).sum()
        gradients = [
            torch.stack(of_pieces).sum(dim=0) for of_pieces in zip(*(g for _, g in parts if g), strict=True)
        ]
        slope = torch.stack([(p * g).sum() for p, g in zip(_trained(net), gradients, strict=True)]).sum()
        return value + (slope - slope.detach())

    def _part(
        self, loss_of: Callable[[AnyNet, int], Tensor], i: int, share: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss of a piece and its gradients, times its share."""
        if not share:
            return torch.zeros(()), ()
        net = self._like_the_first(i)
        loss = share * loss_of(net, i)
        return loss.detach(), torch.autograd.grad(loss, _trained(net))

    def _like_the_first(self, i: int) -> AnyNet:
        first, net = self.nets[0], self.nets[i]
        if i:
            net.train(first.training)
            for mine, theirs in zip(net.parameters(), first.parameters(), strict=True):
                mine.data = theirs.data  # the same memory: nothing is copied
        return net


def _trained(net: nn.Module) -> list[nn.Parameter]:
    return [p for p in net.parameters() if p.requires_grad]
