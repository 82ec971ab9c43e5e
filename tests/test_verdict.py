"""A verdict says when a detector is not ready, why, and what to do; scores become probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import PHRASES, tiny_bundle

import wakeword
from wakeword.bundle import load_bundle, save_bundle
from wakeword.describe import describe
from wakeword.evaluate.calibrate import fit_probability, sigmoid
from wakeword.evaluate.intervals import wilson
from wakeword.evaluate.judge import false_accept_rate
from wakeword.evaluate.report import verdict_html
from wakeword.evaluate.result import AtThreshold, Misses
from wakeword.evaluate.verdict import judge_dev, results_table
from wakeword.manifest import Calibration


def figures(missed: int = 0, spoken: int = 100, accepts: int = 0, hours: float = 10.0) -> AtThreshold:
    misses = Misses(missed, spoken, wilson(missed, spoken))
    return AtThreshold("hey nova", 0.5, 0.5, False, {"clean": misses}, false_accept_rate(accepts, hours), {})


@pytest.mark.parametrize(
    ("row", "clips", "hours", "reason", "step"),
    [
        (figures(missed=6), 40, 10.0, "misses 6%", "more clips"),
        (figures(missed=6), 400, 10.0, "misses 6%", "listen to the missed clips"),
        (figures(spoken=3), 40, 10.0, "3 phrases only", "at least 10 more"),
        (figures(accepts=20), 40, 2.0, "2.0 times an hour", "more background"),
        (figures(accepts=20), 40, 20.0, "2.0 times an hour", "mine what it fires at"),
    ],
)
def test_not_ready_says_why_and_what_next(
    row: AtThreshold, clips: int, hours: float, reason: str, step: str
) -> None:
    verdict = judge_dev([row], 0.5, {"hey nova": clips}, hours)
    assert not verdict.ready
    assert reason in verdict.reasons[0]
    assert step in verdict.next_step


def test_ready_within_both_limits() -> None:
    # 8 in 10 h is above 0.5 an hour, but may well be chance: the interval reaches below.
    verdict = judge_dev([figures(missed=5, accepts=8)], 0.5, {"hey nova": 40}, 10.0)
    assert verdict.ready and not verdict.reasons and not verdict.next_step


def test_bundle_keeps_verdict_and_calibration(tmp_path: Path) -> None:
    path = tmp_path / "a.wakeword"
    bundle = tiny_bundle()
    row = figures(missed=9)
    results = results_table([row], judge_dev([row], 0.5, {}, 0.0))
    curves = {"verifier": dict.fromkeys(PHRASES, Calibration(2.0, -1.0))}
    manifest = replace(bundle.manifest, results=results, calibration=curves)
    save_bundle(path, replace(bundle, manifest=manifest))
    kept = load_bundle(path).manifest
    assert kept.calibration == curves
    text = describe(kept, path)
    assert "NOT READY" in text and "9.0% missed clean" in text and "more clips" in text


def test_detections_carry_the_probability(tmp_path: Path) -> None:
    from tiny import sounds

    path = tmp_path / "a.wakeword"
    bundle = tiny_bundle()
    curves = {"verifier": dict.fromkeys(PHRASES, Calibration(2.0, -1.0))}
    save_bundle(path, replace(bundle, manifest=replace(bundle.manifest, calibration=curves)))
    events = wakeword.load(path).feed(sounds(8.0, seed=3))
    assert events
    for event in events:
        assert event.probability == pytest.approx(Calibration(2.0, -1.0).probability(event.score))
        odds = np.log(event.score / (1 - event.score)) if event.score < 1 else np.inf
        assert event.probability == pytest.approx(sigmoid(2 * min(odds, np.log(1e7 - 1)) - 1), abs=1e-6)


def test_probability_is_the_share_of_real_events() -> None:
    # Spoken peaks around +2, background peaks around -2 at 4 an hour, equal spread: Bayes' rule is a line.
    rng = np.random.default_rng(1)
    hours, per_hour = 500.0, 4.0
    spoken = sigmoids(rng.normal(2.0, 1.5, 4000))
    background = sigmoids(rng.normal(-2.0, 1.5, int(hours * per_hour)))
    curve = fit_probability(spoken, background, hours)
    slope = (2.0 - -2.0) / 1.5**2
    assert curve.slope == pytest.approx(slope, rel=0.1)
    assert curve.offset == pytest.approx(-np.log(per_hour), abs=0.25)


def test_probability_of_separated_scores_is_finite() -> None:
    curve = fit_probability([0.99] * 50, [0.01] * 50, 1.0)
    assert 0.9 < curve.probability(0.99) < 1 and curve.probability(0.01) < 0.2
    assert 0 < curve.probability(1.0) <= 1 and 0 <= curve.probability(0.0) < 0.2


def sigmoids(log_odds: np.ndarray) -> list[float]:
    return [sigmoid(float(x)) for x in log_odds]


@pytest.mark.parametrize("missed", [0, 9])
def test_report_begins_with_the_verdict(missed: int) -> None:
    verdict = results_table([figures(missed)], judge_dev([figures(missed)], 0.5, {"hey nova": 7}, 1.0))
    page = verdict_html(verdict["verdict"])
    assert ("Not ready" in page) == (missed == 9)
    assert ("there are 7" in page) == (missed == 9)
