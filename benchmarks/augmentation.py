"""What each kind of augmentation buys the verifier: every one switched off, and some that it does not have.

    python benchmarks/augmentation.py ../shared/corpus/index.csv [--seeds 2] [--only NAME ...]

New layers on the frozen encoder learn from windows that differ in one thing from those of `wakeword train`,
and are judged on the streams of transfer.py. About half an hour on two idle cores with two seeds. Each cell
is kept in benchmarks/out/augmentation, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from augmentation_cells import (
    ADDED,
    AS_TRAINED,
    NOTHING,
    ONE_LEVEL_DBFS,
    RECIPES,
    STUDENT,
    SWITCHED_OFF,
    Cell,
    Recipe,
    folder_of,
    prepare,
    run_cell,
)
from cached_streams import condition_of, mean_miss
from cells import publish, run_cells
from pictures import COLOURS, panels, save_picture
from results import HERE, provenance
from transfer_data import Settings, trial
from transfer_report import fires, missed

from wakeword.evaluate.report import percent

Rows = Mapping[Recipe, Sequence[dict[str, Any]]]
"""Results of all seeds, by recipe."""
GROUPS = {"": (AS_TRAINED, NOTHING), "switched off": SWITCHED_OFF, "added": ADDED}


def main() -> None:
    arguments = parse()
    settings = Settings(corpus=str(arguments.corpus.resolve()))
    if arguments.trial:
        settings = trial(settings)
    prepare(settings)
    recipes = [r for r in RECIPES if not arguments.only or r.name in arguments.only]
    cells = [Cell(r, seed) for seed in range(1, arguments.seeds + 1) for r in recipes]
    results = run_cells(run_cell, cells, settings, folder_of(settings) / "cells")
    rows = {r: [result for cell, result in results.items() if cell.recipe == r] for r in recipes}
    body = section(rows, settings, picture(rows, settings, arguments.trial))
    publish("augmentation", body, results, arguments.trial)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", action="append", choices=[r.name for r in RECIPES], metavar="NAME")
    parser.add_argument("--trial", action="store_true", help="almost nothing; RESULTS.md stays")
    return parser.parse_args()


def section(rows: Rows, settings: Settings, shown: Path) -> str:
    return f"""## Augmentation

{provenance(("torch", "onnxruntime"))}

The frozen encoder of Whisper tiny.en with all four blocks under new layers, which learn from windows that
differ in one thing from those of a training. Misses at 0.5 FA/h, mean of the four phrases: mean of the seeds
(lowest–highest seed). A seed draws the windows and the first weights; rows of one seed share many of
its draws. {settings.test_clips} test phrases of each at each SNR, in the mixed streams of "Transfer" and with
thresholds found as there; beside them what fires on {settings.test_hours:g} h of test background.

Simpler than a training, the same for all rows: all clips, {settings.versions} windows of each and
{settings.negatives} of background, no near or broken-off phrases; scores are not averaged. The dev windows,
which choose the epoch, are made as in a training whatever the row. So the figures are worse than a bundle's;
their differences are what counts, and one that is smaller than the seeds lie apart says little. Noise is
mixed into the test streams, but no rooms, telephones or overdriven inputs beyond those of the recordings:
what helps against those may not show here.

Where a name does not say it all: with nothing but place and level, clips lie in near-silence and negatives
are plain excerpts of background. Without noise laid over, negatives have none either. Without recorded noise
and music, coloured noise takes their place, among the negatives too. Without other levels, all are at
{ONE_LEVEL_DBFS:g} dBFS, so none is clipped for its loudness; without overdriving, the loudest still are.
Stripes (one of up to {STUDENT.mask_bands} bands, one of up to {STUDENT.mask_frames} frames) and vocal tracts
(±{100 * STUDENT.voice_warp:g} %) are drawn once for each window, with a phrase or without.

![misses by augmentation]({Path("..") / shown.relative_to(HERE.parent)})

{table(rows, settings)}
"""


def table(rows: Rows, settings: Settings) -> str:
    """One row a recipe."""
    conditions = [condition_of(text) for text in settings.snrs]
    lines = [
        f"| windows | {' | '.join(conditions)} | mean | fires/h and phrase on test |",
        "|---|" + "--:|" * (len(conditions) + 2),
    ]
    for group, recipes in GROUPS.items():
        shown = [r for r in recipes if r in rows]
        if group and shown:
            lines.append(f"| *{group}* |" + " |" * (len(conditions) + 2))
        for recipe in shown:
            of_seeds = rows[recipe]
            rates = [*(missed(of_seeds, c) for c in conditions), over_all(of_seeds, conditions)]
            lines.append(f"| {recipe.name} | {' | '.join(map(_text, rates))} | {fires(of_seeds)} |")
    return "\n".join(lines)


def over_all(results: Sequence[dict[str, Any]], conditions: Sequence[str]) -> list[float]:
    """Mean misses over the conditions, of each seed."""
    return [float(np.mean([mean_miss(result, c) for c in conditions])) for result in results]


def _text(rates: Sequence[float]) -> str:
    between = f" ({percent(min(rates))}–{percent(max(rates))})" if len(rates) > 1 else ""
    return percent(float(np.mean(rates))) + between


def picture(rows: Rows, settings: Settings, quick: bool) -> Path:
    """A bar a recipe, mean of all conditions, with the seeds' range; a dotted line at what is as trained."""
    conditions = [condition_of(text) for text in settings.snrs]
    recipes = [r for group in GROUPS.values() for r in group if r in rows]
    colours = [c for c, group in zip(COLOURS, GROUPS.values(), strict=False) for r in group if r in rows]
    figure, (panel,) = panels(["mean of " + ", ".join(conditions)], 6.4, 0.26 * len(recipes) + 1.2)
    for i, recipe in enumerate(recipes):
        rates = [100 * rate for rate in over_all(rows[recipe], conditions)]
        mean = float(np.mean(rates))
        panel.barh(i, mean, color=colours[i])
        panel.plot([min(rates), max(rates)], [i, i], color="#222222", linewidth=1.4)
        panel.text(max(rates), i, f" {mean:.1f}", va="center", fontsize=8)
        if recipe == AS_TRAINED:
            panel.axvline(mean, color="#222222", linewidth=0.8, linestyle=":")
    panel.set_yticks(range(len(recipes)), [r.name for r in recipes])
    panel.invert_yaxis()
    panel.set_xlabel("missed at 0.5 FA/h, % (mean of phrases)", fontsize=8)
    return save_picture(figure, "augmentation", quick)


if __name__ == "__main__":
    main()
