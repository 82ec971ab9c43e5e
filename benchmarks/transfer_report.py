"""The tables, the picture and the conclusion of transfer.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cached_streams import condition_of, mean_miss
from pictures import COLOURS, log_percent_axis, panels, save_picture
from transfer_cells import Cell
from transfer_data import Settings

from wakeword.evaluate.intervals import wilson
from wakeword.evaluate.report import percent

Results = Mapping[Cell, dict[str, Any]]
DEPTH_NAMES = {1: "1 block", 2: "2 blocks", 3: "3 blocks", 4: "4 blocks"}
TUNE_NAMES = {
    "head": "0 (new layers only)",
    "top-1": "1",
    "top-2": "2",
    "top-3": "3",
    "top-4": "4",
    "all": "4 and the stem",
    "random": "all, from random weights",
}


def by_row(results: Results) -> dict[Cell, list[dict[str, Any]]]:
    """Results of all seeds by what they have in common: the cell with seed 0."""
    rows: dict[Cell, list[dict[str, Any]]] = {}
    for cell, result in results.items():
        rows.setdefault(replace(cell, seed=0), []).append(result)
    return rows


def missed(results: Sequence[dict[str, Any]], condition: str) -> list[float]:
    """Mean misses over the phrases, of each seed."""
    return [mean_miss(result, condition) for result in results]


def _text(results: Sequence[dict[str, Any]], condition: str) -> str:
    """Mean over the seeds, lowest to highest of them, and the interval that the phrases spoken allow."""
    rates = missed(results, condition)
    counts = [tuple(pair) for r in results[:1] for pair in r["misses"][condition].values()]
    spoken = sum(n for _, n in counts)
    mean = float(np.mean(rates))
    interval = wilson(round(mean * spoken), spoken)
    return (
        f"{percent(mean)} ({percent(min(rates))}–{percent(max(rates))}; "
        f"95 %: {percent(interval.low)}–{percent(interval.high)})"
    )


def fires(results: Sequence[dict[str, Any]]) -> str:
    """False accepts an hour and phrase on test, all seeds together."""
    pairs = [pair for r in results for pair in r["false_accepts"].values()]
    hours = sum(h for _, h in pairs)
    return f"{sum(n for n, _ in pairs) / hours:.2g}" if hours else "not heard"


def table(results: Results, settings: Settings, first: str) -> str:
    """One row for each cell, its seeds together; `first` heads the column that tells the rows apart."""
    conditions = [condition_of(text) for text in settings.snrs]
    lines = [
        f"| {first} | clips of a phrase | seeds | {' | '.join(conditions)} | fires/h and phrase on test |",
        "|---|--:|--:|" + "--:|" * (len(conditions) + 1),
    ]
    for cell, of_seeds in sorted(by_row(results).items(), key=lambda item: _order(item[0])):
        name = DEPTH_NAMES[cell.kept] if first == "kept" else TUNE_NAMES[cell.tune]
        figures = " | ".join(_text(of_seeds, c) for c in conditions)
        clips = cell.clips or "all"
        lines.append(f"| {name} | {clips} | {len(of_seeds)} | {figures} | {fires(of_seeds)} |")
    return "\n".join(lines)


def _order(cell: Cell) -> tuple[int, int, int]:
    return (cell.clips or 10**6, list(TUNE_NAMES).index(cell.tune), cell.kept)


def conclusion(results: Results, settings: Settings, what: str) -> str:
    """At each number of clips, what misses the fewest, mean over the conditions and seeds."""
    conditions = [condition_of(text) for text in settings.snrs]
    rows = by_row(results)
    lines = []
    for clips in sorted({c.clips for c in rows}, key=lambda n: n or 10**6):
        scores = {
            cell: float(np.mean([missed(of_seeds, c) for c in conditions]))
            for cell, of_seeds in rows.items()
            if cell.clips == clips
        }
        ranked = sorted(scores, key=lambda cell: scores[cell])
        name = (lambda c: DEPTH_NAMES[c.kept]) if what == "kept" else (lambda c: TUNE_NAMES[c.tune])
        texts = ", ".join(f"{name(cell)}: {percent(scores[cell])}" for cell in ranked)
        lines.append(f"- {clips or 'all'} clips: **{name(ranked[0])}** ({texts})")
    return "\n".join(lines)


def picture(frozen: Results, retrained: Results, settings: Settings, quick: bool) -> Path:
    """Misses against clips of a phrase at each depth, a panel a condition; what is retrained as points."""
    conditions = [condition_of(text) for text in settings.snrs]
    figure, row = panels(conditions, width=3.2)
    for panel, condition in zip(row, conditions, strict=True):
        _lines(panel, by_row(frozen), condition)
        _points(panel, by_row(retrained), condition)
        log_percent_axis(panel, least=0.5)
        panel.set(xscale="log", xlabel="clips of each phrase")
        counts = sorted({_x(c) for c in (*frozen, *retrained)})
        panel.set_xticks(counts, ["all" if n == ALL_AT else f"{n}" for n in counts])
        panel.minorticks_off()
    row[0].set_ylabel("missed at 0.5 FA/h, % (mean of phrases)")
    row[-1].legend(fontsize=6.5, frameon=False)
    return save_picture(figure, "transfer", quick)


ALL_AT = 208
"""Train clips of a phrase, on average."""


def _x(cell: Cell) -> int:
    return cell.clips or ALL_AT


def _lines(panel: Any, rows: dict[Cell, list[dict[str, Any]]], condition: str) -> None:
    for colour, kept in zip(COLOURS, sorted({c.kept for c in rows}), strict=False):
        cells = sorted((c for c in rows if c.kept == kept), key=_x)
        found = [missed(rows[c], condition) for c in cells]
        x = [_x(c) for c in cells]
        panel.fill_between(
            x, [_shown(min(f)) for f in found], [_shown(max(f)) for f in found], color=colour, alpha=0.12
        )
        means = [_shown(float(np.mean(f))) for f in found]
        panel.plot(x, means, "-o", color=colour, markersize=3, label=f"{DEPTH_NAMES[kept]} kept, frozen")


def _points(panel: Any, rows: dict[Cell, list[dict[str, Any]]], condition: str) -> None:
    names = [t for t in TUNE_NAMES if any(c.tune == t for c in rows)]
    for marker, tune in zip("sD^v*PX", names, strict=False):
        cells = sorted((c for c in rows if c.tune == tune), key=_x)
        means = [_shown(float(np.mean(missed(rows[c], condition)))) for c in cells]
        x = [_x(c) * 1.12 for c in cells]
        label = f"retrained: {TUNE_NAMES[tune]}"
        panel.plot(x, means, marker, color="#444444", markersize=5, fillstyle="none", label=label)


def _shown(rate: float) -> float:
    return max(100 * rate, 0.42)
