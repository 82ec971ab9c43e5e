"""Phrases trained from their text alone, judged on real speakers: the head, the recogniser, and both.

    python benchmarks/text_only.py ../shared/corpus/index.csv [--clips 300] [--snr clean --snr 10 ...]
                                   [--max-clips N] [--background-hours H] [--epochs N]

Not one recording of a phrase is trained on: engines speak the clips and near phrases; background is the
corpus's train split. About 40 minutes on two idle cores with the whole test split, most of it listening.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from results import OUT, provenance, update_section, write_json
from text_only_train import PHRASES, ROWS, make_bundle

from wakeword.bundle import load_bundle
from wakeword.clips.dataset import Clip, load_background, load_clips
from wakeword.evaluate.calibrate import threshold_allowing
from wakeword.evaluate.judge import Heard, count_misses
from wakeword.evaluate.recordings import snr_of
from wakeword.evaluate.report import percent
from wakeword.evaluate.result import Misses
from wakeword.evaluate.run import bundle_scorer, listen, pick_clips, speech_and_noise
from wakeword.evaluate.score import PhraseScores

FA_PER_HOUR = 0.5


@dataclass(frozen=True)
class Cell:
    """One phrase by one row, at the row's threshold for 0.5 false accepts per hour of the test streams."""

    row: str
    phrase: str
    false_accepts: int
    hours: float
    misses: dict[str, Misses]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--snr", action="append")
    parser.add_argument("--max-clips", type=int)
    parser.add_argument("--background-hours", type=float, default=float("inf"))
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    arguments = parser.parse_args()
    work = OUT / "text_only"
    work.mkdir(parents=True, exist_ok=True)
    bundle, facts = make_bundle(arguments.corpus, work, arguments.clips, arguments.epochs)
    heard = hear(bundle, arguments)
    cells = [cell(heard, bundle, row, phrase) for row in ROWS for phrase in PHRASES]
    write_json("text_only", {"facts": facts, "cells": [as_json(c) for c in cells]})
    name = "text only" + ("" if arguments.split == "test" else f" {arguments.split}")
    body = table(cells, heard, facts, arguments.split)
    update_section(name, f"## {name.capitalize()}\n\n{provenance()}\n\n{body}")


def hear(bundle: Path, arguments: argparse.Namespace) -> Heard:
    """Every stream of the split, heard hop by hop by all rows at once."""
    split = arguments.split
    clips = [c for c in load_clips(arguments.corpus, PHRASES) if c.split == split]
    background = [c for c in load_background([arguments.corpus]) if c.split == split]
    speech, noise = speech_and_noise(shortened(background, arguments.background_hours))
    return listen(
        partial(bundle_scorer, bundle, "verifier"),
        pick_clips(clips, PHRASES, arguments.max_clips, seed=1),
        speech,
        noise,
        [snr_of(text) for text in arguments.snr or ("clean", "10")],
        processes=None,
        seed=1,
        progress=True,
    )


def shortened(clips: Sequence[Clip], hours: float) -> list[Clip]:
    """Clips of background in a fixed random order until they last so many hours."""
    order = np.random.default_rng(1).permutation(len(clips))
    ends = np.cumsum([clips[i].seconds / 3600 for i in order])
    return [clips[i] for i, end in zip(order, ends, strict=True) if end <= hours]


def cell(heard: Heard, bundle: Path, row: str, phrase: str) -> Cell:
    """Misses in each condition at the lowest threshold with at most 0.5 false accepts per hour."""
    name = f"{row} {phrase}"
    config = load_bundle(bundle).manifest.decision
    negative = [trace for _, trace in heard.negative]
    threshold, misses = 1.0, dict[str, Misses]()
    scores = PhraseScores(name, config, [], negative)
    threshold = threshold_allowing(scores, int(FA_PER_HOUR * scores.hours + 1e-9))
    for condition, streams in heard.mixed.items():
        labels = [[replace(s, phrase=f"{row} {s.phrase}") for s in stream.spoken] for stream, _ in streams]
        mixed = [(trace, spoken) for (_, trace), spoken in zip(streams, labels, strict=True)]
        matches = PhraseScores(name, config, mixed, negative).matches(threshold)
        outcomes = [
            (i in m.missed, s.group)
            for m, spoken in zip(matches, labels, strict=True)
            for i, s in enumerate(spoken)
            if s.phrase == name
        ]
        misses[condition] = count_misses(outcomes)
    return Cell(row, phrase, scores.false_accepts(threshold), scores.hours, misses)


def as_json(found: Cell) -> dict[str, object]:
    """For benchmarks/out."""
    return asdict(found)


def table(cells: Sequence[Cell], heard: Heard, facts: dict[str, object], split: str) -> str:
    """The rows, their means and what they were trained on, as Markdown."""
    conditions = list(heard.mixed)
    lines = [
        f"{facts['clips']} synthetic clips of four phrases, {facts['near']} of near phrases; not one real "
        f"recording of a phrase. {heard.facts['clips']} {split} phrases by {heard.facts['speakers']} "
        f"pseudo-speakers, {cells[0].hours:.1f} h of background. Misses where each row's own curve on these "
        f"hours has {FA_PER_HOUR:g} false accepts per hour and phrase.",
        "",
        f"| row | phrase | {' | '.join(f'missed, {c}' for c in conditions)} | false accepts |",
        "|---|---|" + "---|" * (len(conditions) + 1),
    ]
    for row in ROWS:
        of_row = [c for c in cells if c.row == row]
        for c in of_row:
            figures = " | ".join(f"{percent(m.rate)} ({m.missed} of {m.spoken})" for m in c.misses.values())
            lines.append(f"| {row} | {c.phrase} | {figures} | {c.false_accepts} |")
        means = [float(np.mean([c.misses[x].rate for c in of_row])) for x in conditions]
        lines.append(f"| {row} | **mean** | {' | '.join(f'**{percent(m)}**' for m in means)} | |")
    dropped = ", ".join(f"{engine} {share}" for engine, share in facts["dropped"].items())  # type: ignore[attr-defined]
    return "\n".join([*lines, "", f"Clips that the recogniser does not hear as their phrase: {dropped}."])


if __name__ == "__main__":
    main()
