"""The systems of peers.py as what `wakeword.evaluate.trace` listens with: samples in, a score a hop out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cost_systems import MicroWakeWord, OpenWakeWord

from wakeword.audio import HOP_S, HOP_SAMPLES, as_int16
from wakeword.evaluate.run import bundle_scorer
from wakeword.evaluate.sparse import sparse_scorer
from wakeword.evaluate.trace import ScoresAudio

PEER_PHRASE = "alexa"
OURS = ("our cascade", "our student")
EMBEDDING = "speech embedding + our head"
WARM_UP_HOPS = 26
"""Not scored at the start of a stream, as ours are not: openWakeWord keeps what it heard last."""
PEERS = ("openWakeWord 0.4.0", "microWakeWord 2.5.0")


class Peer(ABC):
    """A peer's own streaming object and its own score, the highest of each hop."""

    phrases = (PEER_PHRASE,)

    def __init__(self) -> None:
        self._hops = 0

    def reset(self) -> None:
        """Start a new stream."""
        self._hops = 0

    def feed(self, samples: npt.NDArray[np.generic]) -> list[tuple[float, npt.NDArray[np.float32]]]:
        """One hop in, its score out; the end of a stream that fills no hop is not heard."""
        if len(samples) < HOP_SAMPLES:
            return []
        self._hops += 1
        score = self.score(as_int16(samples))
        if self._hops <= WARM_UP_HOPS:
            return []
        return [(self._hops * HOP_S, np.asarray([score], dtype=np.float32))]

    @abstractmethod
    def score(self, hop: npt.NDArray[np.int16]) -> float:
        """Score of the next hop."""


class OpenWakeWordPeer(Peer):
    """openWakeWord's `Model` on its own `alexa`: what `predict` returns."""

    def __init__(self) -> None:
        super().__init__()
        self._model = OpenWakeWord("")._model

    def reset(self) -> None:
        super().reset()
        self._model.reset()

    def score(self, hop: npt.NDArray[np.int16]) -> float:
        return float(max(self._model.predict(hop).values()))


class MicroWakeWordPeer(Peer):
    """pymicro-wakeword's `alexa`: the mean of its last probabilities, which it compares with its cutoff."""

    def __init__(self) -> None:
        super().__init__()
        self._system = MicroWakeWord(PEER_PHRASE)

    def reset(self) -> None:
        super().reset()
        self._system._features.reset()
        self._system._word.reset()

    def score(self, hop: npt.NDArray[np.int16]) -> float:
        word, features = self._system._word, self._system._features
        scores = [word.process_streaming_prob(x) for x in features.process_streaming(hop.tobytes())]
        return max((s for s in scores if s is not None), default=0.0)


def maker_of(system: str, bundle: Path) -> Callable[[], ScoresAudio]:
    """What makes a system in a worker process. `bundle` is what ours and the embedding are read from."""
    if system == EMBEDDING:
        return partial(sparse_scorer, bundle)
    if system in OURS:
        return partial(bundle_scorer, bundle, "cascade" if system == "our cascade" else "student")
    return OpenWakeWordPeer if system == PEERS[0] else MicroWakeWordPeer
