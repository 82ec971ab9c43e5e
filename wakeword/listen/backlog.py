"""Sound that waits for a slow listener: never more than a few seconds, always the newest.

The sound card's thread puts blocks in, the listener takes all that wait. What does not fit is dropped from
the old end, and the hole is remembered in its place, so that time in the stream stays right.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Block = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Taken:
    """What waited, up to the next hole."""

    lost: int
    """Frames that were lost just before these blocks."""
    blocks: list[Block] = field(default_factory=list)
    """Blocks [n, C] without a hole between them; none where nothing came."""


class Backlog:
    """A queue of blocks that drops its oldest; one thread puts, another takes."""

    def __init__(self, max_frames: int) -> None:
        """Hold at most so many frames (samples of all channels)."""
        self._max_frames = max_frames
        self._waiting: deque[tuple[int, Block]] = deque()  # each with what was lost just before it
        self._frames = 0
        self._arrived = threading.Condition()

    def __len__(self) -> int:
        """Frames that wait."""
        return self._frames

    def put(self, block: Block, lost: int = 0) -> None:
        """Append a block [n, C], before which the driver lost so many frames. Does not wait."""
        with self._arrived:
            self._waiting.append((lost, block))
            self._frames += len(block)
            while self._frames > self._max_frames and len(self._waiting) > 1:
                self._drop_oldest()
            self._arrived.notify()

    def take(self, timeout_s: float) -> Taken:
        """All that waits up to the next hole, after waiting for the first block for at most so long."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._waiting, timeout_s):
                return Taken(0)
            lost, block = self._waiting.popleft()
            blocks = [block]
            while self._waiting and not self._waiting[0][0]:
                blocks.append(self._waiting.popleft()[1])
            self._frames -= sum(map(len, blocks))
            return Taken(lost, blocks)

    def _drop_oldest(self) -> None:
        lost, oldest = self._waiting.popleft()
        self._frames -= len(oldest)
        lost_later, next_block = self._waiting[0]
        self._waiting[0] = (lost + len(oldest) + lost_later, next_block)
