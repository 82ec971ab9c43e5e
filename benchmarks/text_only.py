"""Phrases trained from their text alone, judged on real speakers: the head, the recogniser, and both.

    python benchmarks/text_only.py ../shared/corpus/index.csv [--real 10] [--gated] [--snr 10 ...]
    python benchmarks/text_only.py ../shared/corpus/index.csv --phrase "hallo computer" --language de

The training is `wakeword train`'s own, with the corpus's train and dev background; engines speak the clips.
`--real N` adds N recordings of each phrase from the train split, as a user would his own. Of other phrases
the corpus holds no recording: held-out synthetic voices are judged, among background of their language.
The recogniser at every hop takes hours; with `--gated` all rows are asked as a cascade's verifier is.
Dry: --clips 12 --max-clips 2 --background-hours 0.1 --epochs 1 --gated; its figures are printed, not kept.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from accuracy import table as at_thresholds
from results import OUT, provenance, update_section, write_json
from subset import PHRASES, shortened
from text_only_train import ROWS, Plan, held_out, make_product, make_rows

from wakeword.bundle import load_bundle
from wakeword.cascade import CascadeScorer, Student
from wakeword.clips.dataset import load_background, load_clips
from wakeword.evaluate.calibrate import threshold_allowing
from wakeword.evaluate.judge import Heard, misses_of
from wakeword.evaluate.recordings import snr_of
from wakeword.evaluate.report import percent
from wakeword.evaluate.result import Misses
from wakeword.evaluate.run import bundle_scorer, in_mode, judge_mode, listen, pick_clips, speech_and_noise
from wakeword.evaluate.score import PhraseScores
from wakeword.scorer import HopScorer
from wakeword.verifier import Verifier

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
    options = parser()
    arguments = options.parse_args()
    if arguments.real and arguments.phrase:
        options.error(f"--real: the corpus holds recordings of {', '.join(PHRASES)} alone, without --phrase")
    plan = Plan(
        phrases=tuple(arguments.phrase or PHRASES),
        language=arguments.language,
        corpus=arguments.corpus,
        synthetic=arguments.clips,
        real=arguments.real,
        background_hours=arguments.background_hours,
        epochs=arguments.epochs,
        minutes=arguments.made_minutes,
    )
    work = OUT / "text_only"
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    product = make_product(plan, work)
    trained_s = time.monotonic() - began
    shipped = hear(partial(bundle_scorer, product, "cascade"), plan, work, arguments)
    cells = [cell(shipped, product, "cascade", phrase) for phrase in plan.phrases]
    if not arguments.product_only:
        rows = make_rows(product, plan, work)
        ask = partial(gated_scorer, product, rows) if arguments.gated else partial(bundle_scorer, rows)
        heard = hear(ask, plan, work, arguments)
        cells += [cell(heard, rows, row, phrase) for row in ROWS for phrase in plan.phrases]
    manifest = in_mode(load_bundle(product).manifest, "cascade")
    at_dev = at_thresholds(judge_mode(shipped, manifest, "cascade", {}))
    seconds = {"training": round(trained_s), "judging": round(time.monotonic() - began - trained_s)}
    name = title(plan, arguments.split)
    write_json(name.replace(" ", "_"), {"seconds": seconds, "cells": [asdict(c) for c in cells]})
    lines = [*about(plan, shipped, arguments, cells[0].hours, seconds), "", *table(cells, shipped)]
    body = "\n".join([*lines, "", "The cascade at its own thresholds, from dev:", "", at_dev])
    section = f"## {name.capitalize()}\n\n{provenance()}\n\n{body}"
    print(section)
    if arguments.max_clips is None and arguments.epochs is None and arguments.background_hours == math.inf:
        update_section(name, section)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("corpus", type=Path)
    made.add_argument("--phrase", action="append", help="instead of the corpus's four; repeatable")
    made.add_argument("--language", default="en")
    made.add_argument("--clips", type=int, default=300, help="by machine, of each phrase")
    made.add_argument("--real", type=int, default=0, help="recordings of each phrase added")
    made.add_argument("--epochs", type=int)
    made.add_argument("--made-minutes", type=float, help="train on background by machine, so long")
    made.add_argument("--snr", action="append")
    made.add_argument("--max-clips", type=int)
    made.add_argument("--background-hours", type=float, default=math.inf, help="train and dev; test")
    made.add_argument("--split", choices=("dev", "test"), default="test")
    made.add_argument("--gated", action="store_true", help="ask the rows where the student suspects")
    made.add_argument("--product-only", action="store_true", help="hear the cascade as shipped, no rows")
    return made


def recorded(plan: Plan) -> bool:
    """Whether people are judged, not machines."""
    return set(plan.phrases) <= set(PHRASES)


def title(plan: Plan, split: str) -> str:
    """Of the section."""
    what = "text only" if not plan.real else f"text and {plan.real} clips"
    which = "" if recorded(plan) else f" {plan.language} {' '.join(plan.phrases)}"
    return what + which + ("" if split == "test" else f" {split}")


def hear(make: Callable[[], HopScorer], plan: Plan, work: Path, arguments: argparse.Namespace) -> Heard:
    """Every stream of the split, heard by one scorer."""
    split = arguments.split
    if recorded(plan):
        clips = [c for c in load_clips(plan.corpus, plan.phrases) if c.split == split]
    else:
        clips = held_out(plan, work)
    speech, noise = speech_and_noise([c for c in load_background([plan.corpus]) if c.split == split])
    if plan.language != "en":
        speech = [c for c in speech if plan.language in c.lang.split("+")]
    hours = arguments.background_hours / 2
    return listen(
        make,
        pick_clips(clips, plan.phrases, arguments.max_clips, seed=1),
        shortened(speech, hours),
        shortened(noise, hours),
        [snr_of(text) for text in arguments.snr or ("clean", "10")],
        processes=None,
        seed=1,
        progress=True,
    )


def gated_scorer(product: Path, rows: Path) -> HopScorer:
    """Every row where the product's student suspects one of the phrases; 0 elsewhere."""
    bundle = load_bundle(product)
    assert bundle.manifest.student is not None
    alone = replace(bundle.manifest.student, evidence=0.0)
    student = Student(replace(bundle, manifest=replace(bundle.manifest, student=alone)))
    return CascadeScorer(student, Verifier(load_bundle(rows)))


def cell(heard: Heard, bundle: Path, row: str, phrase: str) -> Cell:
    """Misses in each condition at the lowest threshold with at most 0.5 false accepts per hour."""
    prefix = f"{row} " if row in ROWS else ""
    name = prefix + phrase
    config = load_bundle(bundle).manifest.decision
    negative = [trace for _, trace in heard.negative]
    misses = dict[str, Misses]()
    scores = PhraseScores(name, config, [], negative)
    threshold = threshold_allowing(scores, int(FA_PER_HOUR * scores.hours + 1e-9))
    for condition, streams in heard.mixed.items():
        mixed = [(t, [replace(s, phrase=prefix + s.phrase) for s in stream.spoken]) for stream, t in streams]
        spoken = PhraseScores(name, config, mixed, negative)
        misses[condition] = misses_of(spoken, spoken.matches(threshold))
    return Cell(row, phrase, scores.false_accepts(threshold), scores.hours, misses)


def about(
    plan: Plan, heard: Heard, arguments: argparse.Namespace, hours: float, seconds: dict[str, int]
) -> list[str]:
    """What was trained on and what is judged."""
    own = f"{plan.real} recordings of each" if plan.real else "not one recording of a phrase"
    around = f"{plan.minutes:g} min by machine" if plan.minutes else "the corpus's train and dev split"
    facts = heard.facts
    by = (
        f"{facts['speakers']} pseudo-speakers"
        if recorded(plan)
        else "**held-out synthetic voices**, no people"
    )
    lines = [
        f"Trained as `wakeword train` does on {plan.synthetic} synthetic clips of each phrase and {own}; "
        f"background: {around}. {facts['clips']} phrases of {arguments.split} by {by}; {hours:.2f} h of "
        f"background. Misses where each row's own curve on these hours has at most {FA_PER_HOUR:g} false "
        f"accepts per hour and phrase. Trained in {seconds['training']} s, judged in {seconds['judging']} s.",
    ]
    if arguments.gated and not arguments.product_only:
        lines.append("\nAll rows are asked where the product's student suspects a phrase (`--gated`).")
    if not recorded(plan):
        lines.append(
            "\nSynthetic speech is no test of people: this shows that the language goes through, and what "
            f"real {plan.language} speech sets off."
        )
    return lines


def table(cells: Sequence[Cell], heard: Heard) -> list[str]:
    """The rows and their means, as Markdown."""
    conditions = list(heard.mixed)
    lines = [
        f"| row | phrase | {' | '.join(f'missed, {c}' for c in conditions)} | false accepts |",
        "|---|---|" + "---|" * (len(conditions) + 1),
    ]
    for row in dict.fromkeys(c.row for c in cells):
        of_row = [c for c in cells if c.row == row]
        for c in of_row:
            figures = " | ".join(f"{percent(m.rate)} ({m.missed} of {m.spoken})" for m in c.misses.values())
            lines.append(f"| {row} | {c.phrase} | {figures} | {c.false_accepts} |")
        means = [float(np.mean([c.misses[x].rate for c in of_row])) for x in conditions]
        lines.append(f"| {row} | **mean** | {' | '.join(f'**{percent(m)}**' for m in means)} | |")
    return lines


if __name__ == "__main__":
    main()
