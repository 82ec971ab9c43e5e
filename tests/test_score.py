from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wakeword.decision import Decision, DecisionConfig
from wakeword.errors import DataError
from wakeword.evaluate.calibrate import calibrate, fit_tail, sigmoid, threshold_allowing
from wakeword.evaluate.score import PhraseScores, PhraseTrace, det_curve, events, latencies, match
from wakeword.evaluate.streams import Spoken
from wakeword.evaluate.trace import Trace

HOP_S = 0.08
CONFIG = DecisionConfig(smoothing_hops=1)


def spoken(phrase: str, start_s: float, end_s: float) -> Spoken:
    return Spoken(phrase, start_s, end_s, Path("clip.wav"), "someone")


def make_trace(scores: np.ndarray, start_s: float = 0.0, hours: float | None = None) -> Trace:
    scores = (scores if scores.ndim == 2 else scores[:, None]).astype(np.float32)
    times = start_s + HOP_S * np.arange(1, len(scores) + 1)
    seconds = len(scores) * HOP_S
    phrases = ("alpha", "beta")[: scores.shape[1]]
    return Trace(phrases, times, scores, seconds / 3600 if hours is None else hours, seconds)


def wandering(rng: np.random.Generator, n: int, phrases: int = 2) -> np.ndarray:
    """Random posteriors that rise and fall as real ones do, saturating at both ends."""
    walk = np.zeros((n, phrases))
    for i in range(1, n):
        walk[i] = 0.85 * walk[i - 1] + rng.normal(size=phrases)
    return 1 / (1 + np.exp(-4 * walk))


@pytest.mark.parametrize("hops", [1, 2, 3, 5])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("refractory_s", [0.0, 0.5, 1.0])
def test_events_are_what_the_decision_emits(
    rng: np.random.Generator, hops: int, ratio: float, refractory_s: float
) -> None:
    trace = make_trace(wandering(rng, 800), start_s=1.6)
    config = DecisionConfig(smoothing_hops=hops, rearm_ratio=ratio, refractory_s=refractory_s)
    for threshold in (0.001, 0.2, 0.5, 0.77, 0.95, 0.999, 1.0):
        decision = Decision(trace.phrases, (threshold, threshold), config)
        emitted = [d for t, p in zip(trace.times_s, trace.scores, strict=True) for d in decision.update(p, t)]
        for phrase in trace.phrases:
            expected = [d.time_s for d in emitted if d.phrase == phrase]
            assert list(events(trace, phrase, threshold, config)) == expected


def test_no_hops_no_events() -> None:
    assert len(events(make_trace(np.zeros((0, 2))), "alpha", 0.5, CONFIG)) == 0


def test_match_counts_by_hand() -> None:
    labels = [spoken("alpha", 10.0, 10.6), spoken("beta", 20.0, 20.6), spoken("alpha", 30.0, 30.6)]
    times = [
        5.0,  # in nothing
        9.99,  # before the phrase starts
        10.5,  # hit
        11.6,  # second event for the same phrase, still within 1 s of its end
        20.5,  # on another phrase
        31.61,  # more than 1.0 s after the end
    ]
    matched = match(times, labels, "alpha")
    assert matched.hits == {0: 10.5}
    assert matched.missed == [2]
    assert matched.false_accepts == [5.0, 9.99, 11.6, 20.5, 31.61]
    assert latencies(matched, labels) == pytest.approx([-0.1])


@pytest.mark.parametrize("time_s", [10.0, 11.6])
def test_the_span_of_a_hit_includes_its_ends(time_s: float) -> None:
    assert match([time_s], [spoken("alpha", 10.0, 10.6)], "alpha").hits == {0: time_s}


def test_peaks_are_apart_and_in_order() -> None:
    scores = np.zeros(200)
    scores[[20, 30, 100, 150]] = 0.9, 0.95, 0.5, 0.7
    peaks = PhraseTrace(make_trace(scores), "alpha", CONFIG).peaks(3)
    np.testing.assert_allclose(peaks, [[0.95, 31 * HOP_S], [0.7, 151 * HOP_S], [0.5, 101 * HOP_S]], rtol=1e-6)


def spikes(heights: list[float], hours: float) -> Trace:
    """A negative trace with one lone peak of each height, 4 s apart."""
    scores = np.full(50 * (len(heights) + 1), 1e-6)
    scores[50 : 50 * (len(heights) + 1) : 50] = heights
    return make_trace(scores, hours=hours)


def test_threshold_lets_through_exactly_what_is_allowed() -> None:
    heights = [0.99, 0.9, 0.8, 0.8, 0.5, 0.3, 0.1]
    scores = PhraseScores("alpha", CONFIG, [], [spikes(heights[::2], 1.0), spikes(heights[1::2], 1.0)])
    counts = {n: scores.false_accepts(threshold_allowing(scores, n)) for n in range(8)}
    assert counts == {0: 0, 1: 1, 2: 2, 3: 2, 4: 4, 5: 5, 6: 6, 7: 7}  # the tied 0.8s come together
    # Half-way in log-odds between 0.9 and 0.8.
    expected = sigmoid((np.log(9) + np.log(4)) / 2)
    assert threshold_allowing(scores, 2) == pytest.approx(expected, abs=1e-5)


def test_threshold_of_saturated_scores_is_one() -> None:
    scores = PhraseScores("alpha", CONFIG, [], [spikes([1.0, 1.0, 0.2], 1.0)])
    assert threshold_allowing(scores, 1) == 1.0
    assert scores.false_accepts(1.0) == 2


def test_det_curve_by_hand() -> None:
    positive = np.full(500, 1e-6)
    positive[[125, 250, 375]] = 0.9, 0.6, 0.3
    labels = [spoken("alpha", t - 0.3, t + 0.3) for t in (10.08, 20.08, 30.08)]
    negative = spikes([0.7, 0.2], 2.0)
    scores = PhraseScores("alpha", CONFIG, [(make_trace(positive), labels)], [negative])
    curve = {round(p.threshold, 3): (p.miss_rate, p.fa_per_hour) for p in det_curve(scores)}
    assert curve[0.2] == (0.0, 1.0)
    assert curve[0.3] == (0.0, 0.5)
    assert curve[0.6] == (pytest.approx(1 / 3), 0.5)
    assert curve[0.7] == (pytest.approx(2 / 3), 0.5)
    assert curve[0.9] == (pytest.approx(2 / 3), 0.0)
    assert scores.phrase_peaks() == pytest.approx([0.9, 0.6, 0.3])


def test_det_curve_goes_through_every_count_of_the_rarest_false_accepts(rng: np.random.Generator) -> None:
    negative = spikes(list(rng.permutation(np.linspace(0.1, 0.9, 399))), 2.0)
    positive = np.full(500, 1e-6)
    positive[250] = 0.95
    heard = [(make_trace(positive), [spoken("alpha", 19.7, 20.3)])]
    counts = {p.false_accepts for p in det_curve(PhraseScores("alpha", CONFIG, heard, [negative]))}
    assert set(range(21)) <= counts and len(counts) < 150


def test_calibration_finds_a_known_tail(rng: np.random.Generator) -> None:
    # 200 peaks an hour, exponential in log-odds with mean 1.5 above -4: rate(x) = 200 exp(-(x + 4) / 1.5).
    hours = 2.0
    log_odds = -4 + rng.exponential(1.5, size=int(200 * hours))
    trace = spikes([sigmoid(float(x)) for x in log_odds], hours)
    found = calibrate([trace], (0.1, 0.5, 1, 2), CONFIG)["alpha"]
    assert [found[r].extrapolated for r in (0.1, 0.5, 1, 2)] == [True, True, True, False]
    assert found[0.1].value > found[0.5].value > found[1].value >= found[2].value
    for rate in (0.1, 0.5, 1):
        true = -4 + 1.5 * np.log(200 / rate)
        value = found[rate].value
        assert -0.6 < np.log(value / (1 - value)) - true < 4, "on the safe side"
    scores = PhraseScores("alpha", CONFIG, [], [trace])
    assert scores.false_accepts(found[2].value) == 4
    tail = fit_tail(scores)
    assert tail.raised().fa_per_hour(found[0.5].value) == pytest.approx(0.5, rel=0.01)
    assert tail.threshold(0.5) < found[0.5].value


def test_extrapolated_thresholds_keep_their_rate_nine_times_in_ten(rng: np.random.Generator) -> None:
    kept = 0
    for _ in range(100):
        log_odds = -4 + rng.exponential(1.5, size=rng.poisson(200 * 1.5))
        scores = PhraseScores("alpha", CONFIG, [], [spikes([sigmoid(float(x)) for x in log_odds], 1.5)])
        kept += fit_tail(scores).raised().threshold(0.5) >= sigmoid(-4 + 1.5 * np.log(200 / 0.5))
    assert 85 <= kept <= 100


def test_calibration_without_audio_says_what_to_give() -> None:
    with pytest.raises(DataError, match="give at least 10 minutes"):
        calibrate([make_trace(np.zeros((0, 1)))], (1.0,), CONFIG)
