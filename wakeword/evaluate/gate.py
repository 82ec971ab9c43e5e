"""Where the student's gate is: as low as the verifier's time allows, never too high for its hits.

Pure: it looks at what student and verifier said of the same dev streams, hop by hop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wakeword.decision import DecisionConfig
from wakeword.errors import DataError
from wakeword.evaluate.calibrate import sigmoid
from wakeword.evaluate.score import HIT_AFTER_S, PhraseTrace
from wakeword.evaluate.streams import Spoken
from wakeword.evaluate.trace import Trace
from wakeword.manifest import StudentManifest
from wakeword.verifier import logit

RECALL = 0.998
"""Share of the verifier's hits that must survive the gate."""
CHEAP_SHARE = 0.01
"""Share of the hops without a phrase on which the verifier may run for safety's sake: that far the gate is
lowered below what the dev hits need, for there are too few of them to know the last 0.2 %."""
MAX_SHARE = 0.025
"""Share of those hops beyond which a hit is not worth its price; the recall then falls short, and says so."""
MARGIN = 3.0
"""Log-odds by which the gate is lowered at most."""
STEP = 0.25
"""Log-odds between two gates that are tried."""
TOP = 0.9995
"""No gate is raised beyond this score."""


@dataclass(frozen=True)
class Gate:
    """The chosen gate."""

    scores: Mapping[str, float]
    """phrase -> score of the student from which the verifier is asked."""
    recall: Mapping[str, float]
    """phrase -> share of the verifier's dev hits that survive."""
    heard: Mapping[str, int]
    """phrase -> the verifier's dev hits."""
    share: float
    """Share of the dev background's hops on which the verifier runs."""


@dataclass(frozen=True)
class Pair:
    """What student and verifier said of one stream, and what was spoken in it."""

    student: Trace
    verifier: Trace
    spoken: Sequence[Spoken] = ()


def choose_gate(
    mixed: Sequence[Pair],
    negative: Sequence[Trace],
    thresholds: Mapping[str, float],
    config: DecisionConfig,
    student: StudentManifest,
) -> Gate:
    """Set one gate per phrase from dev streams.

    The highest gate that keeps 99.8 % of the verifier's hits is lowered as long as the phrase makes the
    verifier run on no more than its part of 1 % of the hops without a phrase, and raised until that is no
    more than 2.5 % with the other phrases, the dearest first.

    Args:
        mixed: streams with phrases.
        negative: the student's traces of streams without.
        thresholds: phrase -> posterior at which the verifier fires; of its lowest operating point.
        config: of the decision.
        student: how long the verifier goes on after a suspicion, and on what promise.

    Raises DataError where the verifier hears none of a phrase.
    """
    needed = {
        phrase: needed_scores(mixed, phrase, threshold, config, student)
        for phrase, threshold in thresholds.items()
    }
    if deaf := [phrase for phrase, scores in needed.items() if not len(scores)]:
        raise DataError(f"the verifier hears no {deaf[0]!r} in the dev recordings; no gate can be set for it")
    gates = _affordable(
        negative,
        {phrase: _lowered(negative, phrase, scores, len(needed)) for phrase, scores in needed.items()},
    )
    recall = {phrase: float((scores >= gates[phrase]).mean()) for phrase, scores in needed.items()}
    heard = {phrase: len(scores) for phrase, scores in needed.items()}
    return Gate(gates, recall, heard, suspected_share(negative, gates))


def _lowered(
    negative: Sequence[Trace], phrase: str, needed: npt.NDArray[np.float32], n_phrases: int
) -> float:
    """The gate in log-odds that keeps the needed scores, or a lower one that is cheap."""
    keeping = float(logit(_keeping(needed, RECALL)))
    lower = [keeping - margin for margin in np.arange(0.0, MARGIN + STEP, STEP)]
    cheap = [g for g in lower if _share(negative, phrase, g) <= CHEAP_SHARE / n_phrases]
    return (cheap or lower[:1])[-1]


def _affordable(negative: Sequence[Trace], levels: dict[str, float]) -> dict[str, float]:
    """Gates as scores: those given in log-odds, the dearest raised until all cost little enough."""
    while True:
        gates = {phrase: sigmoid(level) for phrase, level in levels.items()}
        if suspected_share(negative, gates) <= MAX_SHARE or max(gates.values()) > TOP:
            return gates
        dearest = max(levels, key=lambda phrase: _share(negative, phrase, levels[phrase]))
        levels = levels | {dearest: levels[dearest] + STEP}


def _share(negative: Sequence[Trace], phrase: str, level: float) -> float:
    return suspected_share(negative, {phrase: sigmoid(level)})


def _keeping(scores: npt.NDArray[np.float32], recall: float) -> npt.NDArray[np.float32]:
    lost = int((1 - recall) * len(scores) + 1e-9)
    return np.asarray(np.sort(scores)[lost], dtype=np.float32)


def needed_scores(
    mixed: Sequence[Pair], phrase: str, threshold: float, config: DecisionConfig, student: StudentManifest
) -> npt.NDArray[np.float32]:
    """For each phrase that the verifier alone detects, the highest gate at which the cascade does too [n].

    A suspicion is of use where the verifier finds the hop promising and fires within the hangover; its first
    posterior is averaged with the 0 of the hop before, so the next one is what counts.
    """
    found = list[float]()
    for pair in mixed:
        k = pair.student.phrases.index(phrase)
        smoothed = PhraseTrace(pair.verifier, phrase, config)
        for spoken in pair.spoken:
            if spoken.phrase != phrase:
                continue
            first, last = np.searchsorted(smoothed.times_s, [spoken.start_s, spoken.end_s + HIT_AFTER_S])
            fires = np.flatnonzero(smoothed.scores[first : last + 1] >= threshold)
            if len(fires):
                heard = pair.student.scores[first : last + 1, k]
                waits = np.arange(1, student.hangover_hops + 1)
                useful = np.isin(np.arange(len(heard))[:, None] + waits, fires).any(axis=1)
                useful &= pair.verifier.scores[first : last + 1, k] >= student.promising
                found.append(float(heard[useful].max(initial=0.0)))
    return np.asarray(found, dtype=np.float32)


def suspected_share(student: Sequence[Trace], gate: Mapping[str, float]) -> float:
    """Share of all hops on which the student suspects one of these phrases, and so wakes the verifier."""
    suspected = total = 0
    for trace in student:
        columns = [trace.phrases.index(phrase) for phrase in gate]
        levels = np.asarray([*gate.values()], dtype=np.float32)
        suspected += int(np.any(trace.scores[:, columns] >= levels, axis=1).sum())
        total += len(trace.scores)
    return suspected / total if total else 0.0
