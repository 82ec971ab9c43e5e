"""Events counted by hand, and what must hold of any posteriors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeword.decision import Decision, DecisionConfig, Detection
from wakeword.errors import UsageError

HOP_S = 0.08
PLAIN = DecisionConfig(smoothing_hops=1, refractory_s=0, rearm_ratio=0.5)


def run(decision: Decision, rows: Sequence[Sequence[float]]) -> list[Detection]:
    events = []
    for i, row in enumerate(rows, start=1):
        events += decision.update(np.array(row, dtype=np.float32), i * HOP_S)
    return events


def hops(scores: Sequence[float], threshold: float, config: DecisionConfig) -> list[int]:
    """Numbers, from 1, of the hops at which one phrase fires."""
    decision = Decision(["p"], [threshold], config)
    return [round(event.time_s / HOP_S) for event in run(decision, [[s] for s in scores])]


@pytest.mark.parametrize(
    ("scores", "threshold", "fires"),
    [
        ([0.25, 0.5, 0.75], 0.5, [2]),  # equality fires
        ([0.25, 0.4999, 0.25], 0.5, []),
        ([0.5, 0.5, 0.5, 0.5], 0.5, [1]),  # staying up is one event
        ([0.5, 0.25, 0.5, 0.5], 0.5, [1]),  # 0.25 is not below half of 0.5
        ([0.5, 0.24, 0.5, 0.5], 0.5, [1, 3]),
        ([0.5, 0.24, 0.3, 0.4, 0.6], 0.5, [1, 5]),  # once re-armed, armed
        ([1.0, 1.0], 1.0, [1]),
        ([], 0.5, []),
    ],
)
def test_threshold_and_rearm(scores: list[float], threshold: float, fires: list[int]) -> None:
    assert hops(scores, threshold, PLAIN) == fires


@pytest.mark.parametrize(
    ("smoothing", "fires"),
    [
        (1, [2]),
        (2, [3]),  # means 0.25 0.5 0.75 0.75 0.5 0.25
        (3, [4]),  # means 0.25 0.5 0.583 0.75 0.583 0.5 -> only exactly reached at the fourth
        (4, []),  # at most (0.25 + 0.75 + 0.75 + 0.75) / 4
    ],
)
def test_smoothing_averages_the_newest(smoothing: int, fires: list[int]) -> None:
    config = DecisionConfig(smoothing_hops=smoothing, refractory_s=0)
    assert hops([0.25, 0.75, 0.75, 0.75, 0.25, 0.25], 0.75, config) == fires


def test_event_says_what_happened() -> None:
    decision = Decision(["a", "b"], [0.5, 0.75], DecisionConfig(smoothing_hops=2))
    assert run(decision, [[0.25, 0.0], [1.0, 0.5]]) == [Detection("a", 2 * HOP_S, 0.625, 0.5)]


def test_refractory_holds_events_back() -> None:
    config = DecisionConfig(smoothing_hops=1, refractory_s=0.3, rearm_ratio=0.5)
    # Fires at 1; armed again at 2; the peak at 3 is at 0.16 s after, the one at 5 at 0.32 s.
    assert hops([0.9, 0.1, 0.9, 0.1, 0.9], 0.5, config) == [1, 5]
    # A peak that outlasts the refractory period fires when that ends.
    assert hops([0.9, 0.1, 0.9, 0.9, 0.9, 0.9], 0.5, config) == [1, 5]


def test_reset_forgets_posteriors_and_events() -> None:
    decision = Decision(["p"], [0.5], DecisionConfig(smoothing_hops=2, refractory_s=100.0))
    rows = [[0.75], [0.75]]
    first = run(decision, rows)
    assert run(decision, rows) == []
    decision.reset()
    assert run(decision, rows) == first != []


@pytest.mark.parametrize(
    "bad",
    [
        {"smoothing_hops": 0},
        {"smoothing_hops": 1.5},
        {"smoothing_hops": True},
        {"refractory_s": -0.1},
        {"refractory_s": math.nan},
        {"refractory_s": math.inf},
        {"rearm_ratio": 0.0},
        {"rearm_ratio": 1.1},
        {"rearm_ratio": math.nan},
    ],
)
def test_settings_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        DecisionConfig(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, math.nan])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        Decision(["p"], [threshold], PLAIN)


def test_a_hole_forgets_posteriors_and_arms_but_the_refractory_period_goes_on() -> None:
    config = DecisionConfig(smoothing_hops=2, refractory_s=1.0, rearm_ratio=0.5)
    decision = Decision(["p"], [0.5], config)
    loud, quiet = np.array([0.9], dtype=np.float32), np.array([0.2], dtype=np.float32)
    assert len(decision.update(loud, 1.0)) == 1
    decision.skip()
    assert decision.update(loud, 1.5) == []  # within a second of the first event
    (event,) = decision.update(loud, 2.0)  # armed again, though no score fell
    assert event.score == pytest.approx(0.9)
    decision.update(quiet, 4.0)
    decision.skip()
    (event,) = decision.update(loud, 5.0)
    assert event.score == pytest.approx(0.9), "not averaged with what lies before the hole"


def test_one_threshold_a_phrase() -> None:
    with pytest.raises(UsageError, match="2 phrases but 1 thresholds"):
        Decision(["a", "b"], [0.5], PLAIN)


CONFIGS = st.builds(
    DecisionConfig,
    smoothing_hops=st.integers(1, 5),
    refractory_s=st.floats(0, 2),
    rearm_ratio=st.floats(0.01, 1),
)
SCORES = st.lists(st.floats(0, 1, width=32), max_size=80)
THRESHOLDS = st.floats(0.01, 1)


@given(SCORES, THRESHOLDS, CONFIGS)
def test_what_holds_of_any_events(scores: list[float], threshold: float, config: DecisionConfig) -> None:
    rows = [[s] for s in scores]
    events = run(Decision(["p"], [threshold], config), rows)
    means = [np.mean(scores[max(0, i - config.smoothing_hops + 1) : i + 1]) for i in range(len(scores))]
    at = [round(event.time_s / HOP_S) - 1 for event in events]
    assert [event.score for event in events] == pytest.approx([means[i] for i in at])
    assert all(event.score >= threshold for event in events)
    for first, second in itertools.pairwise(at):
        assert (second - first) * HOP_S >= config.refractory_s - 1e-9
        assert min(means[first + 1 : second]) < config.rearm_ratio * threshold + 1e-9
    # The first score to reach the threshold is never missed, whatever the rest of the settings.
    reached = [i for i, mean in enumerate(means) if mean >= threshold + 1e-9]
    assert not reached or at[0] <= reached[0]


@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), max_size=40), CONFIGS)
def test_phrases_do_not_meet(rows: list[tuple[float, ...]], config: DecisionConfig) -> None:
    thresholds = [0.3, 0.5, 0.7]
    together = run(Decision(["a", "b", "c"], thresholds, config), rows)
    assert together == run(Decision(["a", "b", "c"], thresholds, config), rows)
    for k, phrase in enumerate("abc"):
        alone = run(Decision([phrase], thresholds[k : k + 1], config), [[row[k]] for row in rows])
        assert [event for event in together if event.phrase == phrase] == alone
