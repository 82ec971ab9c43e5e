"""What each ingredient of its teaching buys the student, alone, on the test split.

    python benchmarks/ingredients.py ../shared/corpus/index.csv [--seeds 1] [--only NAME ...]

One verifier is trained (new layers, as by `wakeword train`) and hears the windows once; then each student
learns from what is kept, the first from labels alone, each next with one thing more. About 20 minutes on two
idle cores with one seed, 13 more with each other. What is done is kept in benchmarks/out/ingredients, so an
interrupted run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from cached_streams import condition_of, mean_miss
from cells import publish, run_cells
from ingredients_cells import LADDER, RECIPES, Cell, Recipe, by_recipe, run_cell
from ingredients_data import Settings, load_streams, prepare, trial
from pictures import COLOURS, panels, save_picture
from results import HERE, provenance

from wakeword.evaluate.intervals import poisson_rate, wilson
from wakeword.evaluate.report import percent

Results = dict[Cell, dict[str, Any]]


def main() -> None:
    arguments = parse()
    settings = Settings(corpus=str(arguments.corpus.resolve()))
    if arguments.trial:
        settings = trial(settings)
    prepare(settings)
    load_streams(settings)  # rendered here, so that the processes find them
    recipes = [r for r in RECIPES if not arguments.only or r.name in arguments.only]
    cells = [Cell(r, s, arguments.epochs) for s in range(1, arguments.seeds + 1) for r in recipes]
    # The widest takes longest.
    folder = settings.folder() / "cells"
    results = run_cells(run_cell, cells, settings, folder, cost=lambda c: c.recipe.channels)
    conditions = [condition_of(text) for text in settings.snrs]
    shown = picture(results, conditions, arguments.trial)
    body = section(results, conditions, settings, arguments, shown)
    publish("ingredients", body, results, arguments.trial)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", action="append", choices=[r.name for r in RECIPES], metavar="NAME")
    parser.add_argument("--trial", action="store_true", help="almost nothing; RESULTS.md stays")
    return parser.parse_args()


def section(
    results: Results, conditions: list[str], settings: Settings, arguments: argparse.Namespace, shown: Path
) -> str:
    first = next(iter(results.values()))
    spoken = sum(n for _, n in first["misses"][conditions[0]].values())
    hours = next(iter(first["false_accepts"].values()))[1]
    return f"""## What makes the student

{provenance(("torch", "onnxruntime"))}

The student alone, at thresholds for 0.5 FA/h that dev sets (extrapolated from its peaks), on {spoken} test
phrases at each SNR in mixed streams and {hours:.1f} h of test background, every hop. Mean of the four phrases
({arguments.seeds} seed(s); lowest–highest; 95 %: Wilson's interval of the phrases spoken). Each row adds one
thing to the row before it; those under "one thing changed" differ from the full one. Smaller than a training:
{settings.versions} windows a clip, {settings.negatives} of background, {arguments.epochs} epochs,
{settings.unlabelled_hours:g} unlabelled hours. The student is heard in float, a minute at once, with its
states carried on: what its exported graph says hop by hop.

![misses by ingredient]({Path("..") / shown.relative_to(HERE.parent)})

{table(results, conditions)}
"""


def table(results: Results, conditions: list[str]) -> str:
    """One row a recipe."""
    lines = [
        f"| student | parameters | {' | '.join(f'missed, {c}' for c in conditions)} "
        "| fires/h and phrase on test | taught in |",
        "|---|--:|" + "--:|" * (len(conditions) + 2),
    ]
    for recipe, of_seeds in by_recipe(results).items():
        if (
            recipe not in LADDER
            and not lines[-1].startswith("| *")
            and "as trained, but labels" in recipe.name
        ):
            lines.append("| *one thing changed* |" + " |" * (len(conditions) + 3))
        figures = " | ".join(_text(of_seeds, c) for c in conditions)
        seconds = float(np.mean([r["teaching_s"] for r in of_seeds]))
        parameters = of_seeds[0]["parameters"]
        lines.append(f"| {recipe.name} | {parameters:,} | {figures} | {_fires(of_seeds)} | {seconds:.0f} s |")
    return "\n".join(lines)


def _text(results: Any, condition: str) -> str:
    rates = [mean_miss(r, condition) for r in results]
    spoken = sum(n for _, n in results[0]["misses"][condition].values())
    mean = float(np.mean(rates))
    interval = wilson(round(mean * spoken), spoken)
    between = f"{percent(min(rates))}–{percent(max(rates))}; " if len(rates) > 1 else ""
    return f"{percent(mean)} ({between}95 %: {percent(interval.low)}–{percent(interval.high)})"


def _fires(results: Any) -> str:
    pairs = [pair for r in results for pair in r["false_accepts"].values()]
    count, hours = sum(int(n) for n, _ in pairs), sum(h for _, h in pairs)
    interval = poisson_rate(count, hours)
    return f"{count / hours:.2f} ({interval.low:.2f}–{interval.high:.2f})" if hours else "not heard"


def picture(results: Results, conditions: list[str], quick: bool) -> Path:
    """Bars of the ladder and the variants, a panel a condition."""
    rows: list[tuple[Recipe, Any]] = list(by_recipe(results).items())
    figure, row = panels(conditions, width=4.6, height=0.32 * len(rows) + 1.2)
    for panel, condition in zip(row, conditions, strict=True):
        means = [100 * float(np.mean([mean_miss(r, condition) for r in of])) for _, of in rows]
        colours = [COLOURS[0] if recipe in LADDER else COLOURS[1] for recipe, _ in rows]
        panel.barh(range(len(rows)), means, color=colours)
        for i, mean in enumerate(means):
            panel.text(mean, i, f" {mean:.1f}", va="center", fontsize=8)
        panel.set_xlabel("missed at 0.5 FA/h, % (mean of phrases)", fontsize=8)
        panel.set_xlim(0, 1.15 * max(max(means), 1))
    row[0].set_yticks(range(len(rows)), [recipe.name for recipe, _ in rows])
    row[0].invert_yaxis()
    return save_picture(figure, "ingredients", quick)


if __name__ == "__main__":
    main()
