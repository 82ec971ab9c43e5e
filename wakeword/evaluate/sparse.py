"""The verifier over hours of audio at a third of its price: for what is set on dev, not for a report.

A window spans two seconds, so what holds a phrase in it does so for ten hops or more. It is enough to ask at
every fourth hop, and at those between where either neighbour hears anything at all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wakeword.audio import Samples
from wakeword.decision import Posteriors
from wakeword.detector import load_models
from wakeword.mel import Mel
from wakeword.scorer import HopScorer, Scorer
from wakeword.verifier import Verifier

STRIDE = 4
"""Hops from one that is always asked for to the next."""
ANYTHING = 0.005
"""Posterior from which the hops around are asked for too: a twentieth of the lowest threshold there is."""


class SparseScorer(Scorer):
    """As `Scorer`, but a row of posteriors may be filled in up to three hops after it was handed out.

    Where nothing is heard the hops between are 0, and so are up to three at the end of a stream.
    """

    def __init__(self, verifier: Verifier) -> None:
        super().__init__(verifier)
        self._waiting = list[tuple[Mel, Posteriors]]()
        self._before = 0.0

    def reset(self) -> None:
        """Forget all audio; time starts at 0 again."""
        super().reset()
        self._waiting.clear()
        self._before = 0.0

    def _score(self, hop: Samples) -> Posteriors | None:
        self._window.push(self._mel.feed(hop) if self._takes_mel else hop[None])
        if not self._warm:
            return None
        row = np.zeros(len(self.phrases), dtype=np.float32)
        self._waiting.append((self._window.latest(), row))
        if len(self._waiting) == STRIDE:
            self._settle()
        return row

    def _settle(self) -> None:
        *between, (window, row) = self._waiting
        self._fill(window, row)
        highest = float(row.max())
        if max(highest, self._before) >= ANYTHING:
            for earlier, unknown in between:
                self._fill(earlier, unknown)
        self._before = highest
        self._waiting.clear()

    def _fill(self, window: Mel, row: Posteriors) -> None:
        row[:] = self._verifier(window if self._takes_mel else window[0])


def sparse_scorer(path: Path) -> HopScorer:
    """The verifier of a bundle, asked sparsely; see `wakeword.evaluate.run.bundle_scorer`."""
    verifier = load_models(path, "verifier").verifier
    assert verifier is not None
    return SparseScorer(verifier)
