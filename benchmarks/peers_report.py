"""From what each system said of the streams to the table and the picture of peers.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers_hear import NEGATIVE
from peers_scorers import EMBEDDING, OURS, PEER_PHRASE, PEERS
from pictures import COLOURS, log_percent_axis, panels, save_picture

from wakeword.decision import DecisionConfig
from wakeword.evaluate.calibrate import fit_tail, threshold_allowing
from wakeword.evaluate.judge import RATES, false_accept_rate, misses_of
from wakeword.evaluate.report import percent
from wakeword.evaluate.result import FalseAccepts, Misses
from wakeword.evaluate.score import OperatingPoint, PhraseScores, det_curve
from wakeword.evaluate.streams import MixedStream
from wakeword.evaluate.trace import Trace

MAX_FA_PER_HOUR = 30.0
DEV, TEST, TAIL = "dev", "test", "tail"


@dataclass(frozen=True)
class Heard:
    """One system over the streams."""

    system: str
    decision: DecisionConfig
    traces: Mapping[str, Sequence[Trace]]
    """By condition, "negative" among them."""
    thresholds: Mapping[str, Mapping[str, float]]
    """phrase -> FA/h -> threshold from dev; none for a peer."""


@dataclass(frozen=True)
class Cell:
    """A system's misses of one phrase in one condition at one threshold."""

    system: str
    phrase: str
    condition: str
    fa_per_hour: float
    chosen_on: str
    """dev; test (the lowest threshold with no more false accepts there); tail (extrapolated from test)."""
    threshold: float
    misses: Misses
    false_accepts: FalseAccepts


@dataclass(frozen=True)
class Curve:
    """A system's DET curve of one phrase in one condition."""

    system: str
    condition: str
    points: Sequence[OperatingPoint]


def judge_system(
    heard: Heard, streams: Mapping[str, Sequence[MixedStream]], phrase: str
) -> tuple[list[Cell], list[Curve]]:
    """Every condition at every threshold, and the curves."""
    cells, curves = list[Cell](), list[Curve]()
    negative = heard.traces[NEGATIVE]
    for condition, part in streams.items():
        mixed = [(t, stream.spoken) for stream, t in zip(part, heard.traces[condition], strict=True)]
        scores = PhraseScores(phrase, heard.decision, mixed, negative)
        for rate, chosen_on, threshold in thresholds(scores, heard.thresholds.get(phrase, {})):
            accepts = false_accept_rate(scores.false_accepts(threshold), scores.hours)
            misses = misses_of(scores, scores.matches(threshold))
            cells.append(Cell(heard.system, phrase, condition, rate, chosen_on, threshold, misses, accepts))
        curves.append(Curve(heard.system, condition, det_curve(scores)))
    return cells, curves


def thresholds(scores: PhraseScores, from_dev: Mapping[str, float]) -> Iterator[tuple[float, str, float]]:
    """(FA/h, what it was chosen on, threshold)."""
    for rate in RATES:
        allowed = int(rate * scores.hours + 1e-9)
        yield rate, TEST, threshold_allowing(scores, allowed)
        if allowed == 0 and len(scores.negative_peaks(3)) == 3:
            yield rate, TAIL, fit_tail(scores).threshold(rate)
    for text, value in from_dev.items():
        yield float(text), DEV, value


def as_json(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """For benchmarks/out."""
    return [{**asdict(c), "miss_rate": c.misses.rate} for c in cells]


def table(cells: Sequence[Cell], conditions: Sequence[str]) -> str:
    """One row for each system, condition and way to a threshold."""
    phrases = list(dict.fromkeys(c.phrase for c in cells))
    return "\n\n".join(_phrase_table([c for c in cells if c.phrase == p], p, conditions) for p in phrases)


def _phrase_table(cells: Sequence[Cell], phrase: str, conditions: Sequence[str]) -> str:
    hours = cells[0].false_accepts.hours
    few = [r for r in RATES if r * hours < 1]
    heads = [f"{r:g} FA/h" + (f" (none in {hours:.1f} h)" if r in few else "") for r in RATES]
    heads += [f"{r:g} FA/h by the tail" for r in few]
    lines = [
        f"### {phrase}: misses with 95 % intervals ({cells[0].misses.spoken} phrases, {hours:.1f} h without)",
        "",
        f"| heard in | system | threshold from | {' | '.join(heads)} |",
        "|---|---|---|" + "--:|" * len(heads),
    ]
    systems = list(dict.fromkeys(c.system for c in cells))
    for condition in conditions:
        for system in systems:
            of = [c for c in cells if c.system == system and c.condition == condition]
            for chosen_on in (DEV, TEST):
                found = {c.fa_per_hour: c for c in of if c.chosen_on == chosen_on}
                tail = {c.fa_per_hour: c for c in of if c.chosen_on == TAIL and chosen_on == TEST}
                if found:
                    texts = [_text(found.get(r), chosen_on) for r in RATES]
                    texts += [_text(tail.get(r), TAIL) for r in few]
                    lines.append(f"| {condition} | {system} | {chosen_on} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _text(cell: Cell | None, chosen_on: str) -> str:
    if cell is None:
        return ""
    misses = cell.misses
    text = f"{percent(misses.rate)} ({percent(misses.interval.low)} to {percent(misses.interval.high)})"
    return f"{text}, fires {cell.false_accepts.per_hour:.2g}/h" if chosen_on == DEV else text


def winners(cells: Sequence[Cell], conditions: Sequence[str]) -> str:
    """Where a peer misses fewer than our cascade at the same rate of false accepts, each by its own sweep."""
    at = {
        (c.system, c.condition, c.fa_per_hour): c.misses.rate
        for c in cells
        if c.phrase == PEER_PHRASE and c.chosen_on == TEST
    }
    others = [s for s in dict.fromkeys(c.system for c in cells) if s not in OURS]
    compared = [
        ((s, x, r), at[s, x, r] - at[OURS[0], x, r]) for s in others for x in conditions for r in RATES
    ]
    lost = [which for which, lead in compared if lead < 0]
    tied = [which for which, lead in compared if lead == 0]
    where = "; ".join(f"{s} at {r:g} FA/h, {x}" for s, x, r in lost) or "none"
    return (
        f"`{PEER_PHRASE}`, each system at its own best threshold: of {len(compared)} comparisons our cascade "
        f"misses fewer in {len(compared) - len(lost) - len(tied)}, as many in {len(tied)}, more in "
        f"{len(lost)} ({where})."
    )


def det_picture(
    curves: Sequence[Curve], cells: Sequence[Cell], conditions: Sequence[str], quick: bool
) -> Path:
    """One panel a condition, one line a system; a dot where our thresholds from dev fall."""
    figure, row = panels(conditions)
    order = [*OURS, EMBEDDING, *PEERS]
    for panel, condition in zip(row, conditions, strict=True):
        for curve in (c for c in curves if c.condition == condition):
            _line(panel, curve, COLOURS[order.index(curve.system)])
        for cell in (c for c in cells if c.condition == condition and c.chosen_on == DEV):
            x, y = _floored(cell.false_accepts.per_hour, cell.misses.rate, cell.false_accepts.hours)
            colour = COLOURS[order.index(cell.system)]
            panel.plot(
                [x], [y], "o", color=colour, markersize=4, markeredgecolor="black", markeredgewidth=0.5
            )
        log_percent_axis(panel, least=1)
        panel.set(xscale="log", xlim=(0.08, MAX_FA_PER_HOUR), xlabel="false accepts per hour")
        panel.set_xticks([0.1, 0.5, 1, 2, 5, 10, 20], ["0.1", "0.5", "1", "2", "5", "10", "20"])
        panel.minorticks_off()
    row[0].set_ylabel(f"{PEER_PHRASE} missed, %")
    row[0].legend(fontsize=7, frameon=False, loc="upper right")
    return save_picture(figure, "peers_det", quick)


def _line(panel: Any, curve: Curve, colour: str) -> None:
    kept = sorted(
        (p for p in curve.points if p.fa_per_hour <= MAX_FA_PER_HOUR),
        key=lambda p: (p.fa_per_hour, p.miss_rate),
    )
    if not kept:
        return
    x, y = zip(*(_floored(p.fa_per_hour, p.miss_rate, p.hours) for p in kept), strict=True)
    # Far down a detector never re-arms and misses grow again: only what no other threshold beats.
    best = np.minimum.accumulate(y)
    panel.step([*x, MAX_FA_PER_HOUR], [*best, best[-1]], where="post", color=colour, label=curve.system)


def _floored(fa_per_hour: float, miss_rate: float, hours: float) -> tuple[float, float]:
    """Where the logarithmic axes show it; none at all lies at half of one false accept."""
    return max(fa_per_hour, 0.5 / hours), max(100 * miss_rate, 0.85)
