from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from wakeword.evaluate.intervals import poisson_rate, rate_text, speaker_bootstrap, wilson


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson_against_published_values(k: int, n: int, low: float, high: float) -> None:
    # 81/263 and 29/29: Newcombe 1998, table I.
    interval = wilson(k, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


def test_wilson_solves_the_score_equation() -> None:
    k, n, z = 7, 90, stats.norm.ppf(0.975)

    def score(p: float) -> float:
        return float(abs(k / n - p) - z * np.sqrt(p * (1 - p) / n))

    interval = wilson(k, n)
    assert interval.low == pytest.approx(optimize.brentq(score, 1e-9, k / n), abs=1e-9)
    assert interval.high == pytest.approx(optimize.brentq(score, k / n, 1 - 1e-9), abs=1e-9)


def test_wilson_of_nothing_is_everything() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "low", "high"), [(1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_poisson_against_garwood_table(k: int, low: float, high: float) -> None:
    interval = poisson_rate(k, 2.0)
    assert (interval.low, interval.high) == pytest.approx((low / 2, high / 2), abs=1e-4)


def test_poisson_bounds_leave_the_tails_they_promise() -> None:
    interval = poisson_rate(5, 1.0)
    assert stats.poisson.sf(4, interval.low) == pytest.approx(0.025)
    assert stats.poisson.cdf(5, interval.high) == pytest.approx(0.025)


def test_zero_events_is_the_rule_of_three() -> None:
    interval = poisson_rate(0, 4.0)
    assert interval.low == 0.0
    assert interval.high == pytest.approx(3.0 / 4.0, rel=2e-3)
    assert rate_text(0, 4.0) == "0 (95 %: < 0.75)"
    assert rate_text(4, 4.0) == "1 (95 %: 0.27 to 2.6)"
    assert poisson_rate(0, 0.0).high == float("inf")


def test_bootstrap_is_wider_where_one_speaker_has_all_misses(rng: np.random.Generator) -> None:
    missed = [True] * 10 + [False] * 90
    by_speaker = [f"s{i // 10}" for i in range(100)]
    each_alone = [f"s{i}" for i in range(100)]
    clustered = speaker_bootstrap(missed, by_speaker, rng)
    single = speaker_bootstrap(missed, each_alone, rng)
    assert clustered.high > single.high + 0.05
    assert clustered.low == 0.0
    # Without clusters it is the binomial interval, and where the bootstrap is narrower, Wilson's.
    assert single.low == pytest.approx(wilson(10, 100).low, abs=0.02)
    assert single.high == pytest.approx(wilson(10, 100).high, abs=0.02)
    one = speaker_bootstrap([True] + [False] * 61, each_alone[:62], rng)
    assert one.high == wilson(1, 62).high


def test_bootstrap_repeats_and_falls_back_to_wilson() -> None:
    missed, speakers = [True, False] * 20, [f"s{i % 8}" for i in range(40)]
    first = speaker_bootstrap(missed, speakers, np.random.default_rng(3))
    assert first == speaker_bootstrap(missed, speakers, np.random.default_rng(3))
    none = speaker_bootstrap([False] * 40, speakers, np.random.default_rng(3))
    assert none == wilson(0, 40)
    assert speaker_bootstrap(missed, ["a", "b"] * 20, np.random.default_rng(3)) == wilson(20, 40)
