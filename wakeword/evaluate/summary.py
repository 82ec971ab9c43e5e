"""An evaluation in a few lines, for the terminal."""

from __future__ import annotations

import numpy as np

from wakeword.evaluate.report import percent
from wakeword.evaluate.result import AtThreshold, ConfusableResult, EvaluationResult, FalseAccepts, Misses

WIDTH = 26


def summary(result: EvaluationResult) -> str:
    """Misses and false accepts of each phrase at the default operating point, with 95 % intervals."""
    rows = result.headline()
    title = f"thresholds set on dev for {result.default_fa_per_hour:g} false accepts per hour and phrase:"
    head = ["missed, " + c for c in result.conditions] + ["false accepts per hour"]
    means = [percent(result.mean_miss_rate(c)) for c in result.conditions]
    accepts = float(np.mean([row.false_accepts.per_hour for row in rows]))
    return "\n".join(
        [
            title,
            _line("", head),
            *(_line(row.phrase, _cells(row, result.conditions)) for row in rows),
            _line("mean", [*means, f"{accepts:.2f}"]),
            *_latencies(result),
            f"  the verifier ran on {percent(result.facts['verifier_share'])} of the background's hops",
            *_confusables(result.confusables),
        ]
    )


def _confusables(found: ConfusableResult | None) -> list[str]:
    """Share of near phrases that were taken for a phrase, over all and by kind."""
    if found is None:
        return []
    total = found.total
    kinds = ", ".join(f"{row.kind} {percent(row.rate)}" for row in found.by_kind)
    interval = f"{percent(total.interval.low)} to {percent(total.interval.high)}"
    return [f"  near phrases accepted: {percent(total.rate)} ({interval}) of {total.spoken}: {kinds}"]


def _latencies(result: EvaluationResult) -> list[str]:
    """Median and 95th percentile of the time from the end of a phrase to its event, over all phrases."""
    lines = []
    for condition in result.conditions:
        waits = [row for row in result.latencies if row.condition == condition and row.n]
        if waits:
            median = float(np.median([row.median_s for row in waits]))
            p95 = max(row.p95_s for row in waits)
            lines.append(f"  latency, {condition}: {median * 1000:.0f} ms; 95 % within {p95 * 1000:.0f} ms")
    return lines


def _line(name: str, cells: list[str]) -> str:
    return f"  {name:<14}" + "".join(f"{cell:<{WIDTH}}" for cell in cells).rstrip()


def _cells(row: AtThreshold, conditions: tuple[str, ...]) -> list[str]:
    return [*(_misses(row.misses[c]) for c in conditions), _accepts(row.false_accepts)]


def _misses(misses: Misses) -> str:
    interval = misses.interval
    return f"{percent(misses.rate)} ({percent(interval.low)} to {percent(interval.high)})"


def _accepts(accepts: FalseAccepts) -> str:
    if not accepts.hours:
        return "not measured"
    interval = accepts.interval
    return f"{accepts.per_hour:.2f} ({interval.low:.2f} to {interval.high:.2f}) in {accepts.hours:.1f} h"
