"""The whole training several times over: what another seed changes, and what retraining and mining buy.

    python benchmarks/seeds.py ../shared/corpus/index.csv [--seed 1 --seed 2 --seed 3] [--only-train]
                               [--recipe auto --recipe head/0] [--drop-list scripts/demo_drop.csv]

A recipe is a `tune` of the settings; after a stroke the rounds of mining, where not as many as usual.

Each is a `wakeword train` of the four phrases; on the test split all of them are heard at once, in each mode,
at their own thresholds from dev. Detectors are kept in benchmarks/out/seeds, so a stopped run goes on. About
30 minutes a training on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from results import OUT, provenance, update_section, write_json
from subset import PHRASES

from wakeword.bundle import load_bundle
from wakeword.clips.dataset import load_background, load_clips
from wakeword.clips.drop import NOTHING, read_drop_list
from wakeword.config import DataConfig, TrainConfig
from wakeword.decision import Posteriors
from wakeword.evaluate.judge import Heard
from wakeword.evaluate.recordings import snr_of
from wakeword.evaluate.report import percent
from wakeword.evaluate.run import bundle_scorer, listen, pick_clips, speech_and_noise
from wakeword.evaluate.score import PhraseScores
from wakeword.evaluate.trace import Trace
from wakeword.manifest import Mode
from wakeword.recipe import Request, make_detector

MODES: tuple[Mode, ...] = ("cascade", "student")
"""For "verifier", which hears everything with the large network, benchmarks/accuracy.py."""
SHOWN = (0.1, 0.5)
"""Operating points of the table; the JSON has all."""


@dataclass(frozen=True)
class Cell:
    """One training."""

    recipe: str
    seed: int

    @property
    def path(self) -> Path:
        """Its detector."""
        return OUT / "seeds" / f"{self.recipe.replace('/', '-')}-seed{self.seed}" / "model.wakeword"

    @property
    def took(self) -> Path:
        """How long it took."""
        return self.path.with_name("seconds.json")


@dataclass(frozen=True)
class Figures:
    """One detector in one mode at one operating point: means over the phrases."""

    recipe: str
    seed: int
    mode: str
    fa_per_hour: float
    missed: dict[str, float]
    """Share, by condition."""
    test_fa_per_hour: float


class AllAtOnce:
    """Every detector in every mode on the same audio, as one scorer: the streams are made once."""

    def __init__(self, paths: Sequence[Path], modes: Sequence[Mode]) -> None:
        self._scorers = [bundle_scorer(path, mode) for path in paths for mode in modes]
        self.phrases = tuple(f"{i} {p}" for i, s in enumerate(self._scorers) for p in s.phrases)

    def feed(self, samples: npt.NDArray[np.generic]) -> list[tuple[float, Posteriors]]:
        """(time in s, posteriors of all) for each hop."""
        rows = zip(*(scorer.feed(samples) for scorer in self._scorers), strict=True)
        return [(row[0][0], np.concatenate([posteriors for _, posteriors in row])) for row in rows]

    def reset(self) -> None:
        """Forget all audio."""
        for scorer in self._scorers:
            scorer.reset()


def main() -> None:
    arguments = parse()
    cells = [Cell(r, seed) for r in arguments.recipe or ["auto"] for seed in arguments.seed or [1, 2, 3]]
    for cell in cells:
        if not cell.path.exists():
            train(cell, arguments.corpus, arguments.drop_list)
    if arguments.only_train:
        return
    modes = tuple(arguments.mode or MODES)
    heard = hear(partial(AllAtOnce, [c.path for c in cells], modes), arguments)
    listeners = [(cell, mode) for cell in cells for mode in modes]
    figures = [f for i, (cell, mode) in enumerate(listeners) for f in judged(heard, i, cell, mode)]
    write_json("seeds", {"figures": [asdict(f) for f in figures], "facts": heard.facts})
    body = section(figures, cells, heard)
    print(body)
    if not arguments.max_clips:
        update_section("seeds", body)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--recipe", action="append")
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--snr", action="append")
    parser.add_argument("--drop-list", type=Path)
    parser.add_argument("--max-clips", type=int)
    parser.add_argument("--only-train", action="store_true")
    return parser.parse_args()


def train(cell: Cell, corpus: Path, drop_list: Path | None) -> None:
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    drop = read_drop_list(drop_list) if drop_list else NOTHING
    tune, _, rounds = cell.recipe.partition("/")
    data = DataConfig(mining_rounds=int(rounds)) if rounds else DataConfig()
    settings = TrainConfig(tune=tune, seed=cell.seed, data=data)
    begun = time.monotonic()
    make_detector(Request(PHRASES, corpus, (corpus,), cell.path, settings, drop=drop))
    cell.took.write_text(json.dumps({"seconds": round(time.monotonic() - begun)}), encoding="utf-8")


def hear(make: Callable[[], AllAtOnce], arguments: argparse.Namespace) -> Heard:
    clips = [c for c in load_clips(arguments.corpus, PHRASES) if c.split == "test"]
    speech, noise = speech_and_noise([c for c in load_background([arguments.corpus]) if c.split == "test"])
    snrs = [snr_of(text) for text in arguments.snr or ("clean", "10", "5", "0")]
    clips = pick_clips(clips, PHRASES, arguments.max_clips, seed=1)
    return listen(make, clips, speech, noise, snrs, processes=None, seed=1, progress=True)


def judged(heard: Heard, listener: int, cell: Cell, mode: Mode) -> list[Figures]:
    """One listener's figures at each of its operating points."""
    manifest = load_bundle(cell.path).manifest
    config, thresholds = manifest.decision_of(mode), manifest.thresholds_of(mode)

    def own(trace: Trace) -> Trace:
        mine = slice(listener * len(PHRASES), (listener + 1) * len(PHRASES))
        return replace(trace, phrases=manifest.phrases, scores=trace.scores[:, mine])

    negative = [own(trace) for _, trace in heard.negative]
    mixed = {c: [(own(t), s.spoken) for s, t in streams] for c, streams in heard.mixed.items()}
    scores = {
        c: [PhraseScores(phrase, config, streams, negative) for phrase in PHRASES]
        for c, streams in mixed.items()
    }
    background = next(iter(scores.values()))  # the same in all conditions
    figures = list[Figures]()
    for point in next(iter(thresholds.values())):
        levels = [thresholds[phrase][point].value for phrase in PHRASES]
        missed = {
            c: float(np.mean([share_missed(s, level) for s, level in zip(of, levels, strict=True)]))
            for c, of in scores.items()
        }
        accepts = [s.false_accepts(level) / s.hours for s, level in zip(background, levels, strict=True)]
        figures.append(Figures(cell.recipe, cell.seed, mode, float(point), missed, float(np.mean(accepts))))
    return figures


def share_missed(scores: PhraseScores, threshold: float) -> float:
    return sum(len(m.missed) for m in scores.matches(threshold)) / scores.n_spoken


def section(figures: Sequence[Figures], cells: Sequence[Cell], heard: Heard) -> str:
    conditions = list(heard.mixed)
    seconds = [
        f"{cell.recipe}, seed {cell.seed}: {json.loads(cell.took.read_text(encoding='utf-8'))['seconds']} s"
        for cell in cells
        if cell.took.exists()
    ]
    lines = [
        f"## Seeds\n\n{provenance()}\n",
        f"{heard.facts['clips']} test phrases by {heard.facts['speakers']} pseudo-speakers in each "
        "condition; mean of the four phrases, then of the seeds (lowest to highest seed). Thresholds from "
        f"dev. Training took: {'; '.join(seconds)}.\n",
        f"| recipe | mode | FA/h wanted | {' | '.join(f'missed, {c}' for c in conditions)} | FA/h on test |",
        "|---|---|--:|" + "--:|" * (len(conditions) + 1),
    ]
    for recipe in dict.fromkeys(cell.recipe for cell in cells):
        for mode in MODES:
            for point in SHOWN:
                rows = [f for f in figures if (f.recipe, f.mode, f.fa_per_hour) == (recipe, mode, point)]
                if rows:
                    shares = " | ".join(spread([f.missed[c] for f in rows], percent) for c in conditions)
                    accepts = spread([f.test_fa_per_hour for f in rows], "{:.2f}".format)
                    lines.append(f"| {recipe} | {mode} | {point:g} | {shares} | {accepts} |")
    return "\n".join(lines)


def spread(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """Mean and range."""
    return f"{shown(float(np.mean(values)))} ({shown(min(values))} to {shown(max(values))})"


if __name__ == "__main__":
    main()
