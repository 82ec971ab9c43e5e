"""Whether a threshold gives the false accepts an hour that it is for, and with what margin it does.

    python benchmarks/thresholds.py out/demo/demo.wakeword ../shared/corpus/index.csv
                                    [--drop-list scripts/demo_drop.csv] [--kind "text only"]

Thresholds are set on one half of the dev background and tried on the other, many times over: recordings are
dealt to the halves at random. The test split is not touched. Under a minute on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from results import provenance, update_section

from wakeword.bundle import load_bundle
from wakeword.clips.dataset import load_background
from wakeword.clips.drop import NOTHING, read_drop_list
from wakeword.decision import DecisionConfig
from wakeword.evaluate.calibrate import LOWEST, MARGIN_Z, fit_tail
from wakeword.evaluate.plan import build_negative_streams
from wakeword.evaluate.run import bundle_scorer
from wakeword.evaluate.score import PhraseScores
from wakeword.evaluate.trace import Trace, trace_all

MARGINS = (0.0, 0.5, 1.0, MARGIN_Z)
RATES = (0.1, 0.5, 1.0, 2.0)
DEALS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--drop-list", type=Path, help="of `wakeword check`: recordings to leave out")
    parser.add_argument("--kind", help="of detector, for a section of its own")
    arguments = parser.parse_args()
    manifest = load_bundle(arguments.model).manifest
    drop = read_drop_list(arguments.drop_list) if arguments.drop_list else NOTHING
    background = [c for c in drop.keep(load_background([arguments.corpus])) if c.split == "dev"]
    scorer = partial(bundle_scorer, arguments.model, "cascade")
    traces = trace_all(scorer, build_negative_streams(background))
    rng = np.random.default_rng(1)
    halves = [half for _ in range(DEALS) for half in dealt(traces, rng)]
    fired = tried(halves, manifest.phrases, manifest.decision)
    hours = sum(trace.audible_hours for trace in traces)
    name = f"thresholds, {arguments.kind}" if arguments.kind else "thresholds"
    lines = [
        f"Set on one half of the dev background, {hours / 2:.1f} h of {hours:.1f}, tried on the other; "
        f"{DEALS} deals of its {len(traces)} streams, both ways; {len(manifest.phrases)} phrases.",
        "False accepts an hour that came of it, and in how many of 100 cases they were more than wanted:",
        "",
        "| margin, standard deviations | " + " | ".join(f"{rate:g} wanted" for rate in RATES) + " |",
        "|--:|" + "--:|" * len(RATES),
    ]
    for margin in MARGINS:
        cells = (f"{got:.2f} ({100 * over:.0f})" for got, over in (fired[margin, rate] for rate in RATES))
        mark = " (ours)" if margin == MARGIN_Z else ""
        lines.append(f"| {margin:g}{mark} | {' | '.join(cells)} |")
    body = "\n".join([f"## {name.capitalize()}", "", provenance(), "", *lines])
    update_section(name, body)
    print(body)


def dealt(traces: Sequence[Trace], rng: np.random.Generator) -> Iterator[tuple[list[Trace], list[Trace]]]:
    """Two halves of about as many hours, one to set a threshold on and one to try it, then the other way."""
    order = rng.permutation(len(traces))
    hours = np.cumsum([traces[i].audible_hours for i in order])
    middle = int(np.searchsorted(hours, hours[-1] / 2))
    one, other = [traces[i] for i in order[:middle]], [traces[i] for i in order[middle:]]
    yield one, other
    yield other, one


def tried(
    halves: Sequence[tuple[list[Trace], list[Trace]]], phrases: Sequence[str], config: DecisionConfig
) -> dict[tuple[float, float], tuple[float, float]]:
    """By margin and rate: false accepts an hour on halves that set no threshold, the share with too many."""
    counts = {(margin, rate): list[tuple[int, float]]() for margin in MARGINS for rate in RATES}
    for setting, trying in halves:
        for phrase in phrases:
            tail = fit_tail(PhraseScores(phrase, config, [], setting))
            heard = PhraseScores(phrase, config, [], trying)
            for (margin, rate), counted in counts.items():
                threshold = max(tail.raised(margin).threshold(rate), LOWEST)
                counted.append((heard.false_accepts(threshold), heard.hours))
    return {
        (margin, rate): (
            sum(n for n, _ in counted) / sum(hours for _, hours in counted),
            float(np.mean([n > rate * hours for n, hours in counted])),
        )
        for (margin, rate), counted in counts.items()
    }


if __name__ == "__main__":
    main()
