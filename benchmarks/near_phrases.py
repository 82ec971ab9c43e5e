"""How often near phrases, parts, repeats and the like are taken for a phrase, by kind.

    python benchmarks/near_phrases.py out/demo/demo.wakeword ../shared/corpus/index.csv [--kind "text only"]

Spoken by machine in voices kept for test (in benchmarks/out/near, made once), in background speech of the
test split, at the bundle's default thresholds. About five minutes on two cores.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from results import OUT, provenance, update_section

from wakeword.bundle import load_bundle
from wakeword.clips.confusable_clips import find_confusables
from wakeword.clips.dataset import load_background
from wakeword.evaluate.confusable import count_confusables, hear_confusables
from wakeword.evaluate.report import percent
from wakeword.evaluate.result import Accepted, ConfusableResult
from wakeword.evaluate.run import bundle_scorer, speech_and_noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--kind", help="of detector, for a section of its own")
    arguments = parser.parse_args()
    manifest = load_bundle(arguments.model).manifest
    near = find_confusables(OUT / "near", manifest.phrases, "test", 1)
    speech, _ = speech_and_noise([c for c in load_background([arguments.corpus]) if c.split == "test"])
    scorer = partial(bundle_scorer, arguments.model, manifest.mode)
    result = count_confusables(hear_confusables(scorer, near, speech, manifest))
    name = f"near phrases, {arguments.kind}" if arguments.kind else "near phrases"
    body = f"## {name.capitalize()}\n\n{provenance()}\n\n{text(result, manifest.phrases)}"
    update_section(name, body)
    print(body)


def text(result: ConfusableResult, phrases: tuple[str, ...]) -> str:
    head = f"| kind | spoken | taken for a phrase | texts no training used | {' | '.join(phrases)} |"
    lines = [head, "|---|--:|--:|--:|" + "--:|" * len(phrases)]
    lines += [line(row, phrases) for row in (*result.by_kind, result.total)]
    worst = ", ".join(f"{t.text!r} for {t.phrase} ({t.accepted} of {t.spoken})" for t in result.texts[:12])
    return "\n".join([*lines, "", f"Taken most often: {worst or 'none'}."])


def line(row: Accepted, phrases: tuple[str, ...]) -> str:
    held = "–" if not row.held_out[1] else f"{row.held_out[0]} of {row.held_out[1]}"
    of = (row.by_phrase.get(phrase, (0, 0)) for phrase in phrases)
    share = f"{percent(row.rate)} ({percent(row.interval.low)} to {percent(row.interval.high)})"
    return f"| {row.kind} | {row.spoken} | {share} | {held} | {' | '.join(f'{n} of {m}' for n, m in of)} |"


if __name__ == "__main__":
    main()
