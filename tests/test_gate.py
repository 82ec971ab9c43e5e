"""The gate on traces made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from wakeword.decision import DecisionConfig
from wakeword.errors import DataError
from wakeword.evaluate.gate import Pair, choose_gate, needed_scores, suspected_share
from wakeword.evaluate.streams import Spoken
from wakeword.evaluate.trace import Trace
from wakeword.manifest import StudentManifest

CONFIG = DecisionConfig(smoothing_hops=2)


def trace(columns: Sequence[Sequence[float]], phrases: tuple[str, ...] = ("a",)) -> Trace:
    scores = np.asarray(columns, dtype=np.float32).T
    times = np.arange(1, len(scores) + 1, dtype=np.float64) * 0.08
    return Trace(phrases, times, scores, len(scores) * 0.08 / 3600, len(scores) * 0.08)


def spoken(end_hop: int, phrase: str = "a") -> Spoken:
    return Spoken(phrase, end_hop * 0.08 - 0.3, end_hop * 0.08, Path("x.wav"), "someone")


def student(hangover_hops: int = 4, promising: float = 0.0) -> StudentManifest:
    return StudentManifest(
        gate={}, hangover_hops=hangover_hops, promising=promising, thresholds={}, cascade_thresholds={}
    )


def test_needed_score_is_the_best_of_use() -> None:
    """Posteriors 1 from hop 6 on: smoothed over two they reach 0.9 at hop 7 (index 6) for two hops."""
    posteriors = [0, 0, 0, 0, 0.1, 1, 1, 1, 0, 0, 0, 0]
    scores = [0.9, 0.1, 0.2, 0.3, 0.4, 0.2, 0.1, 0.8, 0, 0, 0, 0]
    pair = Pair(trace([scores]), trace([posteriors]), [spoken(6)])
    for hangover, promising, expected in ((1, 0.0, 0.2), (2, 0.0, 0.4), (2, 0.2, 0.2), (6, 0.0, 0.4)):
        got = needed_scores([pair], "a", 0.9, CONFIG, student(hangover, promising))
        np.testing.assert_allclose(got, [expected])
    unheard = Pair(trace([scores]), trace([[0.0] * 12]), [spoken(6)])
    assert len(needed_scores([unheard], "a", 0.9, CONFIG, student())) == 0
    elsewhere = Pair(trace([scores]), trace([posteriors]), [spoken(6, "b")])
    assert len(needed_scores([elsewhere], "a", 0.9, CONFIG, student())) == 0


def test_share_of_hops() -> None:
    negative = trace([[0, 0.5, 0, 0, 0, 0, 0, 0, 0.5, 0], [0, 0, 0.9, 0, 0, 0, 0, 0, 0, 0]], ("a", "b"))
    assert suspected_share([negative], {"a": 0.5, "b": 0.9}) == pytest.approx(0.3)
    assert suspected_share([negative], {"b": 0.9}) == pytest.approx(0.1)
    assert suspected_share([negative, negative], {"a": 0.51, "b": 0.91}) == 0
    assert suspected_share([], {"a": 0.5}) == 0


def mixed(peaks: Sequence[float]) -> list[Pair]:
    """One stream for each peak of the student, always heard by the verifier."""
    pairs = []
    for peak in peaks:
        student, posteriors = np.zeros(30), np.zeros(30)
        student[10], posteriors[11:15] = peak, 1
        pairs.append(Pair(trace([student.tolist()]), trace([posteriors.tolist()]), [spoken(11)]))
    return pairs


def test_the_gate_keeps_hits_and_is_lowered_while_that_is_cheap() -> None:
    peaks = [0.5 + 0.02 * i for i in range(20)]
    loud = [trace([[0.3] * 500 + [0.0] * 500])]  # half of the hops cost from 0.3 down
    gate = choose_gate(mixed(peaks), loud, {"a": 0.9}, CONFIG, student())
    assert 0.3 < gate.scores["a"] < 0.5
    assert gate.recall == {"a": 1.0}
    assert gate.share == 0
    quiet = choose_gate(mixed(peaks), [trace([[0.0] * 1000])], {"a": 0.9}, CONFIG, student())
    assert quiet.scores["a"] == pytest.approx(1 / (1 + np.exp(3)), rel=0.02)


def test_a_hit_may_cost_too_much() -> None:
    """Keeping the weaker hit would wake the verifier on every hop of the background."""
    gate = choose_gate(mixed([0.2, 0.9]), [trace([[0.5] * 100])], {"a": 0.9}, CONFIG, student())
    assert 0.5 < gate.scores["a"] < 0.9
    assert gate.recall == {"a": 0.5}
    assert gate.share == 0


def test_one_in_five_hundred_may_go() -> None:
    peaks = [0.01] * 2 + [0.7] * 998
    gate = choose_gate(mixed(peaks), [trace([[0.6] * 100])], {"a": 0.9}, CONFIG, student())
    assert 0.6 < gate.scores["a"] < 0.7
    assert gate.recall["a"] == pytest.approx(0.998)


def test_a_phrase_that_the_verifier_never_hears() -> None:
    deaf = [Pair(trace([[0.5] * 30]), trace([[0.0] * 30]), [spoken(11)])]
    with pytest.raises(DataError, match="the verifier hears no 'a' in the dev recordings"):
        choose_gate(deaf, [trace([[0.0] * 30])], {"a": 0.9}, CONFIG, student())
