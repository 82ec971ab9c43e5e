"""Whether a new detector is ready, from what was measured on dev, and what would help most if it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wakeword.evaluate.result import AtThreshold

MAX_MISSES = 0.05
"""Share of clean dev phrases that a ready detector may miss."""
MIN_SPOKEN = 10
"""Dev phrases below which nothing is known."""
ENOUGH_CLIPS = 100
"""Training clips of a phrase from which others help little."""
ENOUGH_HOURS = 5.0
"""Training background, likewise."""
CLEAN = "clean"


@dataclass(frozen=True)
class Verdict:
    """What stands in the bundle and at the top of the report."""

    ready: bool
    reasons: tuple[str, ...]
    """Why not; empty when ready."""
    next_step: str
    """What would help most; empty when ready."""


def judge_dev(
    figures: Sequence[AtThreshold], fa_per_hour: float, clips: Mapping[str, int], background_h: float
) -> Verdict:
    """The verdict on each phrase's figures on dev, at a budget of false accepts per hour.

    `clips` counts each phrase's training clips, `background_h` the hours of training background: they decide
    which advice comes first.
    """
    reasons, steps = list[str](), list[str]()
    for row in figures:
        clean = row.misses[CLEAN]
        if clean.spoken < MIN_SPOKEN:
            reasons.append(f"{row.phrase!r} was judged on {clean.spoken} phrases only")
            steps.append(f"record at least {MIN_SPOKEN} more clips of {row.phrase!r}, by other people")
        elif clean.rate > MAX_MISSES:
            reasons.append(
                f"{row.phrase!r} misses {clean.rate:.0%} of clean phrases ({MAX_MISSES:.0%} is fine)"
            )
            steps.append(_more_clips(row.phrase, clips.get(row.phrase, 0)))
        accepts = row.false_accepts
        if accepts.interval.low > fa_per_hour:
            reasons.append(f"{row.phrase!r} fires {accepts.per_hour:.1f} times an hour without being spoken")
            steps.append(_more_background(row.phrase, background_h))
    return Verdict(not reasons, tuple(reasons), steps[0] if steps else "")


def _more_clips(phrase: str, n: int) -> str:
    if n < ENOUGH_CLIPS:
        return f"more clips of {phrase!r}, by more people: there are {n}, {ENOUGH_CLIPS} are a good number"
    return (
        f"listen to the missed clips of {phrase!r} (wakeword check lists doubtful ones); else a longer phrase"
    )


def _more_background(phrase: str, hours: float) -> str:
    if hours < ENOUGH_HOURS:
        return f"more background without the phrases (--background): there are {hours:.1f} hours"
    return f"mine what it fires at (wakeword mine) and train again; else a longer phrase than {phrase!r}"


def results_table(figures: Sequence[AtThreshold], verdict: Verdict) -> dict[str, Any]:
    """What a manifest keeps of them, as plain values."""
    dev = {
        row.phrase: {
            "threshold": row.threshold,
            "misses": {c: {**asdict(m), "rate": m.rate} for c, m in row.misses.items()},
            "false_accepts": {**asdict(row.false_accepts), "per_hour": row.false_accepts.per_hour},
        }
        for row in figures
    }
    return {"dev": dev, "verdict": {**asdict(verdict), "reasons": list(verdict.reasons)}}
