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
GRID = np.arange(-15.0, 8.01, 0.25)
"""Gates that are tried, in log-odds of the student's score."""


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
    more than its part of 2.5 %.

    Args:
        mixed: streams with phrases.
        negative: the student's traces of streams without.
        thresholds: phrase -> posterior at which the verifier fires; of its lowest operating point.
        config: of the decision.
        student: how long the verifier goes on after a suspicion, and on what promise.

    Raises DataError where the verifier hears none of a phrase.
    """
    gates, recall, heard = dict[str, float](), dict[str, float](), dict[str, int]()
    for phrase, threshold in thresholds.items():
        needed = needed_scores(mixed, phrase, threshold, config, student)
        if not len(needed):
            raise DataError(
                f"the verifier hears no {phrase!r} in the dev recordings; no gate can be set for it"
            )
        gates[phrase] = sigmoid(_affordable(negative, phrase, needed, len(thresholds)))
        heard[phrase] = len(needed)
        recall[phrase] = float((needed >= gates[phrase]).mean())
    return Gate(gates, recall, heard, suspected_share(negative, gates))


def _affordable(
    negative: Sequence[Trace],
    phrase: str,
    needed: npt.NDArray[np.float32],
    n_phrases: int,
) -> float:
    """The gate in log-odds that keeps the needed scores, within what may be spent on one of the phrases."""
    keeping = float(logit(_keeping(needed, RECALL)))
    shares = np.array([suspected_share(negative, {phrase: sigmoid(g)}) for g in GRID])
    # Shares fall as gates rise; argmax finds the first gate that is within, the last entry always is.
    lowest, lowest_cheap = (
        float(GRID[np.argmax(np.append(shares[:-1] <= share / n_phrases, True))])
        for share in (MAX_SHARE, CHEAP_SHARE)
    )
    return max(lowest, min(keeping, max(lowest_cheap, keeping - MARGIN)))


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
