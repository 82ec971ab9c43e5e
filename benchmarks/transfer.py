"""What transfer buys: misses against the depth that is kept, the blocks that are retrained, and the clips.

    python benchmarks/transfer.py ../shared/corpus/index.csv [--part frozen --part retrained] [--seeds 3]

Part `frozen`: new layers on the frozen encoder cut to 1 to 4 blocks, 10, 30, 100 and all clips of each
phrase. Part `retrained`: the last blocks retrained too, all of it, and the same network from random weights;
without a GPU on fewer windows. Each cell is kept in benchmarks/out/transfer, so an interrupted run goes on.
With a GPU and 16 cores 8 minutes; on two idle cores about an hour for each part.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from cells import publish, run_cells
from results import HERE, provenance
from transfer_cells import DEVICE, Cell, run_cell
from transfer_data import Settings, load_streams, load_windows, make_features, trial
from transfer_report import Results, conclusion, picture, table

PARTS = ("frozen", "retrained")
FEWER_WINDOWS = {"versions": 2, "negatives": 600, "epochs": 3}
"""Of part `retrained` on a CPU."""
RANDOM_EPOCHS = {"cpu": 5, "cuda": 20}


def main() -> None:
    arguments = parse()
    settings = Settings(corpus=str(arguments.corpus.resolve()))
    if arguments.trial:
        settings = trial(settings)
    # Computed here, so that the processes find all of it there.
    windows, streams = load_windows(settings), load_streams(settings)
    if DEVICE.type == "cpu":
        make_features(settings, windows, streams)
    wanted = {part: cells_of(part, arguments) for part in arguments.part or PARTS}
    folder = settings.folder() / "cells"
    done = {part: run_cells(run_cell, cells, settings, folder) for part, cells in wanted.items()}
    frozen, retrained = (done.get(part, {}) for part in PARTS)
    shown = picture(frozen, retrained, settings, arguments.trial)
    body = section(frozen, retrained, settings, shown)
    publish("transfer", body, {**frozen, **retrained}, arguments.trial)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--part", action="append", choices=PARTS, help="both unless given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kept", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--clips", type=int, nargs="+", default=[10, 30, 100, 0], help="0 = all")
    parser.add_argument(
        "--tune",
        nargs="+",
        default=["head", "top-1", "top-2", "top-3", "all", "random"],
        help="part retrained",
    )
    parser.add_argument("--retrained-clips", type=int, nargs="+", default=[10, 100, 0], help="0 = all")
    parser.add_argument("--trial", action="store_true", help="almost nothing; RESULTS.md stays")
    return parser.parse_args()


def cells_of(part: str, arguments: argparse.Namespace) -> list[Cell]:
    """Deepest first, so that what is wrong with them is known early."""
    seeds = range(1, arguments.seeds + 1)
    if part == "frozen":
        return [
            Cell(n, kept, seed=s) for s in seeds for kept in reversed(arguments.kept) for n in arguments.clips
        ]
    common = FEWER_WINDOWS if DEVICE.type == "cpu" else {}
    cells = [
        Cell(n, tune=tune, seed=s, **common)
        for s in seeds
        for n in arguments.retrained_clips
        for tune in arguments.tune
    ]
    return [replace(c, epochs=RANDOM_EPOCHS[DEVICE.type]) if c.tune == "random" else c for c in cells]


def section(frozen: Results, retrained: Results, settings: Settings, shown: Path) -> str:
    parts = list[str]()
    best = "Fewest misses, mean of all conditions:"
    if frozen:
        parts += ["### Frozen encoder, cut to its first blocks", table(frozen, settings, "kept")]
        parts += [best, conclusion(frozen, settings, "kept")]
    if retrained:
        parts += ["### Retrained blocks (all four kept)", retrained_note()]
        parts += [table(retrained, settings, "retrained"), best, conclusion(retrained, settings, "retrained")]
    tables = "\n\n".join(parts)
    return f"""## Transfer

{provenance(("torch", "onnxruntime"))}

Whisper tiny.en under the same new layers. Misses at 0.5 FA/h, mean of the four phrases: mean of the seeds
(lowest–highest seed; 95 %: Wilson's interval of the phrases spoken). A seed draws the clips and the first
weights. {settings.test_clips} test phrases of each at each SNR, in mixed streams as everywhere. Thresholds
from all dev background, where the fitted tail of its peaks has 0.5 an hour (the most likely such tail, not
the upper bound that bundles use); beside them what fires on {settings.test_hours:g} h of test background.

Simpler than a training, the same for all cells: {settings.versions} windows a clip and {settings.negatives}
of background, no near or broken-off phrases; streams are asked every {80 * settings.stride} ms, those with
phrases only where an event would be a hit, and scores are not averaged. So the figures are worse than a
bundle's; their differences are what counts. All dev clips choose the epoch, whatever the number of clips.

![misses against clips]({Path("..") / shown.relative_to(HERE.parent)})

{tables}
"""


def retrained_note() -> str:
    if DEVICE.type == "cuda":
        return f"On all windows; {RANDOM_EPOCHS['cuda']} epochs from random weights, 6 else."
    return (
        f"On fewer windows than above ({FEWER_WINDOWS['versions']} a clip, {FEWER_WINDOWS['negatives']} of "
        f"background), {FEWER_WINDOWS['epochs']} epochs, {RANDOM_EPOCHS['cpu']} from random weights; the row "
        "without retraining is on these windows too, and the only one that heard test background."
    )


if __name__ == "__main__":
    main()
