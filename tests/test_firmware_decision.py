"""The firmware's rule: slice by slice against all at once, and against events counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.decision import SLICES_UNHEARD, FirmwareDecision, FirmwareRule, PosteriorTrace
from wakeword.errors import UsageError


def by_slices(posteriors: np.ndarray, rule: FirmwareRule) -> list[int]:
    decision = FirmwareDecision(rule)
    slices = len(posteriors) * rule.stride
    last = rule.stride - 1
    given = [int(posteriors[i // rule.stride]) if i % rule.stride == last else None for i in range(slices)]
    return [i for i, posterior in enumerate(given) if decision.slice(posterior)]


def test_all_at_once_equals_slice_by_slice(rng: np.random.Generator) -> None:
    n_events = 0
    for _ in range(60):
        steps = int(rng.integers(5, 800))
        slow = np.convolve(rng.normal(0, 1, steps + 20), np.ones(rng.integers(1, 20)) / 4, "same")[:steps]
        posteriors = np.clip(128 + slow * rng.uniform(20, 200), 0, 255).astype(np.uint8)
        rule = FirmwareRule(int(rng.integers(1, 255)), int(rng.integers(1, 34)))
        expected = by_slices(posteriors, rule)
        assert PosteriorTrace(posteriors).events(rule).tolist() == expected
        n_events += len(expected)
    assert n_events > 50


def test_counted_by_hand() -> None:
    posteriors = np.zeros(120, dtype=np.uint8)
    posteriors[50:54] = 220  # a mean of 3 above 200 from step 52 on
    posteriors[70:90] = 220  # too soon: 100 slices of quiet have not passed
    posteriors[110:113] = 220  # 54 quiet slices up to step 70, 46 more by step 105
    rule = FirmwareRule(200, 3)
    assert by_slices(posteriors, rule) == [52 * 3 + 2, 112 * 3 + 2]


def test_nothing_fires_in_the_first_second() -> None:
    posteriors = np.full(200, 255, dtype=np.uint8)
    assert by_slices(posteriors, FirmwareRule(200, 1)) == [], (
        "it never grew quiet, so it is never listened to"
    )
    posteriors[:40] = 0
    assert by_slices(posteriors, FirmwareRule(200, 1)) == [40 * 3 + 2]
    assert SLICES_UNHEARD == 100


@pytest.mark.parametrize("cutoff", range(1, 255))
def test_the_manifests_probability_is_the_cutoff(cutoff: int) -> None:
    assert int(FirmwareRule(cutoff, 5).probability * 255) == cutoff  # as ESPHome converts it


@pytest.mark.parametrize(("cutoff", "window"), [(0, 5), (255, 5), (100, 0), (100, 34)])
def test_rules_out_of_range(cutoff: int, window: int) -> None:
    with pytest.raises(UsageError):
        FirmwareRule(cutoff, window)
