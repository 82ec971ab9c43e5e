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
from wakeword.verifier import logit

RECALL = 0.998
"""Share of the verifier's hits that must survive the gate."""
MAX_SHARE = 0.01
"""Share of the hops without a phrase on which the verifier may run."""
MARGINS = np.arange(0.01, 6.1, 0.25)
"""Log-odds by which a gate may be lower than the dev hits need: there are too few to know the last 0.2 %."""


@dataclass(frozen=True)
class Gate:
    """The chosen gate."""

    scores: Mapping[str, float]
    """phrase -> score of the student from which the verifier is asked."""
    recall: Mapping[str, float]
    """phrase -> share of the verifier's dev hits that survive."""
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
    hangover_hops: int,
) -> Gate:
    """Set one gate per phrase from dev streams.

    The highest gate that keeps 99.8 % of the verifier's hits is lowered as long as the phrase makes the
    verifier run on no more than its share of 1 % of the hops without a phrase.

    Args:
        mixed: streams with phrases.
        negative: the student's traces of streams without.
        thresholds: phrase -> posterior at which the verifier fires; of its lowest operating point.
        config: of the decision.
        hangover_hops: how long the verifier goes on after a suspicion.

    Raises DataError where the verifier hears none of a phrase.
    """
    gates, recall = dict[str, float](), dict[str, float]()
    for phrase, threshold in thresholds.items():
        needed = needed_scores(mixed, phrase, threshold, config, hangover_hops)
        if not len(needed):
            raise DataError(
                f"the verifier hears no {phrase!r} in the dev recordings; no gate can be set for it"
            )
        highest = float(logit(_keeping(needed, RECALL)))
        lower = [{phrase: sigmoid(highest - margin)} for margin in MARGINS]
        allowed = MAX_SHARE / len(thresholds)
        cheap = [g for g in lower if verified_share(negative, g, hangover_hops) <= allowed]
        gates |= (cheap or lower[:1])[-1]
        recall[phrase] = float((needed >= gates[phrase]).mean())
    return Gate(gates, recall, verified_share(negative, gates, hangover_hops))


def _keeping(scores: npt.NDArray[np.float32], recall: float) -> npt.NDArray[np.float32]:
    lost = int((1 - recall) * len(scores) + 1e-9)
    return np.asarray(np.sort(scores)[lost], dtype=np.float32)


def needed_scores(
    mixed: Sequence[Pair], phrase: str, threshold: float, config: DecisionConfig, hangover_hops: int
) -> npt.NDArray[np.float32]:
    """For each phrase that the verifier alone detects, the highest gate at which it still does in time [n].

    In time: the verifier must be asked from the hop before the one that fires on, for its posterior counts
    too; one hop (80 ms) later is taken as in time. A suspicion lasts for the hangover.
    """
    found = list[float]()
    for pair in mixed:
        k = pair.student.phrases.index(phrase)
        smoothed = PhraseTrace(pair.verifier, phrase, config)
        for spoken in pair.spoken:
            if spoken.phrase != phrase:
                continue
            first, last = np.searchsorted(smoothed.times_s, [spoken.start_s, spoken.end_s + HIT_AFTER_S])
            fired = np.flatnonzero(smoothed.scores[first : last + 1] >= threshold)
            if len(fired):
                at = int(first + fired[0])
                found.append(float(pair.student.scores[max(0, at - hangover_hops) : at + 1, k].max()))
    return np.asarray(found, dtype=np.float32)


def verified_share(student: Sequence[Trace], gate: Mapping[str, float], hangover_hops: int) -> float:
    """Share of all hops on which these phrases make the verifier run."""
    asked = total = 0
    for trace in student:
        columns = [trace.phrases.index(phrase) for phrase in gate]
        levels = np.asarray([*gate.values()], dtype=np.float32)
        suspected: npt.NDArray[np.bool_] = np.any(trace.scores[:, columns] >= levels, axis=1)
        asking = suspected.copy()
        for later in range(1, min(hangover_hops + 1, len(suspected))):
            asking[later:] |= suspected[:-later]
        asked, total = asked + int(asking.sum()), total + len(asking)
    return asked / total if total else 0.0
