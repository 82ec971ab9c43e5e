"""Figures of the benchmarks: one look, and where they go (docs/img, in git)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from results import HERE

from wakeword.files import written_whole

IMAGES = HERE.parent / "docs" / "img"
COLOURS = ("#3b7dd8", "#e07b39", "#2f9e6e", "#b65fcf", "#c9a227", "#d6455d")
PERCENTS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def panels(titles: Sequence[str], width: float = 3.6, height: float = 3.6) -> tuple[Figure, list[Any]]:
    """A row of panels that share their axes, each with its title."""
    figure = Figure(figsize=(width * len(titles), height), layout="constrained", dpi=110)
    row = list(figure.subplots(1, len(titles), sharex=True, sharey=True, squeeze=False)[0])
    for panel, title in zip(row, titles, strict=True):
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    return figure, row


def log_percent_axis(panel: Any, least: float = 0.2) -> None:
    """Misses from `least` to 100 %, logarithmic; none at all is drawn at the bottom."""
    shown = [p for p in PERCENTS if p >= least]
    panel.set(yscale="log", ylim=(0.8 * least, 115))
    panel.set_yticks(shown, [f"{p:g}" for p in shown])
    panel.minorticks_off()


def save_picture(figure: Figure, name: str, quick: bool = False) -> Path:
    """Write docs/img/NAME.png, or benchmarks/out/NAME.png for a trial."""
    folder = HERE / "out" if quick else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
    return path
