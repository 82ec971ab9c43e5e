"""The report's figures, as SVG text that goes straight into the page (light or dark)."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from wakeword.evaluate.result import AtThreshold, EvaluationResult, Histogram
from wakeword.evaluate.score import OperatingPoint

COLOURS = ("#3b7dd8", "#e07b39", "#2f9e6e", "#b65fcf", "#c9a227", "#d6455d", "#3aa6b9", "#8a8f98")
INK = "#808791"
"""Axes and text: readable on white and on near-black."""
MAX_FA_PER_HOUR = 60.0
COLUMNS = 3
WIDTH = 11.5
"""Of every figure, in inches: the page scales all alike, so text has one size."""


def det_plot(result: EvaluationResult) -> str:
    """Miss rate against false accepts per hour, both logarithmic; one panel per condition."""
    figure, axes = _panels(len(result.conditions), 3.5)
    for panel, condition in zip(axes, result.conditions, strict=False):
        for colour, phrase in zip(_cycle(len(result.phrases)), result.phrases, strict=True):
            _det_line(panel, result.curves[phrase][condition], colour, phrase)
        for colour, row in zip(_cycle(len(result.phrases)), result.headline(), strict=True):
            _mark(panel, row, condition, colour)
        _det_axes(panel, condition)
    axes[0].set_ylabel("missed, %")
    axes[0].legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper right")
    return _svg(figure, "det")


def _det_floors(hours: float, spoken: int) -> tuple[float, float]:
    """Where a log axis shows "none": below one false accept, and below one miss."""
    return 0.5 / max(hours, 1e-3), 50.0 / max(spoken, 1)


def _det_line(panel: Any, points: Sequence[OperatingPoint], colour: str, phrase: str) -> None:
    x_floor, y_floor = _det_floors(points[0].hours, points[0].spoken)
    kept = [p for p in points if p.fa_per_hour <= MAX_FA_PER_HOUR]
    # Only what no other threshold beats: far down the detector never re-arms, and misses grow again.
    kept.sort(key=lambda p: (p.fa_per_hour, p.miss_rate))
    misses = np.minimum.accumulate([100 * p.miss_rate for p in kept]) if kept else np.zeros(0)
    x = np.maximum([p.fa_per_hour for p in kept], x_floor)
    panel.step(x, np.maximum(misses, y_floor), where="post", color=colour, linewidth=1.6, label=phrase)


def _mark(panel: Any, row: AtThreshold, condition: str, colour: str) -> None:
    misses = row.misses[condition]
    x_floor, y_floor = _det_floors(row.false_accepts.hours, misses.spoken)
    x, y = max(row.false_accepts.per_hour, x_floor), max(100 * misses.rate, y_floor)
    panel.plot([x], [y], "o", color=colour, markersize=6, markeredgecolor=INK, markeredgewidth=0.8)


def _det_axes(panel: Any, condition: str) -> None:
    panel.set(xscale="log", yscale="log", xlabel="false accepts per hour", ylim=(0.2, 110))
    panel.set_title(condition, color=INK, fontsize=10)
    panel.set_yticks(
        [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100], ["0.2", "0.5", "1", "2", "5", "10", "20", "50", "100"]
    )
    panel.set_xlim(0.05, MAX_FA_PER_HOUR)
    panel.set_xticks([0.1, 0.5, 1, 2, 5, 10, 50], ["0.1", "0.5", "1", "2", "5", "10", "50"])
    panel.minorticks_off()
    panel.grid(color=INK, alpha=0.18, linewidth=0.6)


def histogram_plot(result: EvaluationResult) -> str:
    """Peaks of spoken phrases and of the background in log-odds; one panel per phrase."""
    figure, axes = _panels(len(result.phrases), 2.4)
    thresholds = {row.phrase: row.threshold for row in result.headline()}
    for panel, histogram in zip(axes, result.histograms, strict=False):
        _histogram(panel, histogram, thresholds[histogram.phrase])
    axes[0].set_ylabel("count")
    axes[0].legend(frameon=False, fontsize=7.5, labelcolor=INK, loc="upper left")
    return _svg(figure, "histogram")


def _histogram(panel: Any, histogram: Histogram, threshold: float) -> None:
    panel.stairs(histogram.background, histogram.edges, fill=True, color=INK, alpha=0.45, label="background")
    for colour, (condition, counts) in zip(
        _cycle(len(histogram.spoken)), histogram.spoken.items(), strict=True
    ):
        panel.stairs(counts, histogram.edges, color=colour, linewidth=1.5, label=f"spoken, {condition}")
    odds = np.clip(threshold, 1e-7, 1 - 1e-7)
    panel.axvline(
        np.log(odds / (1 - odds)), color="#d6455d", linestyle="--", linewidth=1.2, label="threshold"
    )
    panel.set(yscale="log", ylim=(0.7, None), xlabel="score, log-odds")
    panel.set_title(histogram.phrase, color=INK, fontsize=10)


def _cycle(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _panels(n: int, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure  # no pyplot: no global state and no display

    columns = min(n, COLUMNS if n != 4 else 2)
    rows = -(-n // columns)
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for spare in panels[n:]:
        spare.set_visible(False)
    for panel in panels:
        panel.set_facecolor("none")
        panel.tick_params(colors=INK, labelsize=8, labelbottom=True, labelleft=True)
        panel.xaxis.label.set_color(INK)
        panel.yaxis.label.set_color(INK)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(INK)
    return figure, panels


def _svg(figure: Any, name: str) -> str:
    """The figure as an <svg> element; the same result always gives the same text."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Identifiers of two figures must not meet in one page.
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for side in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", svg, count=1)
    return svg
