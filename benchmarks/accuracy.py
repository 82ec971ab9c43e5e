"""Misses and false accepts of each mode of listening, in each noise, on the test split of a corpus.

    python benchmarks/accuracy.py out/demo/demo.wakeword ../shared/corpus/index.csv [--mode cascade ...]
                                  [--snr clean --snr 10 ...] [--max-clips N]

About 4 minutes a mode on two cores with every clip at two SNRs, but 15 for `verifier`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from results import provenance, update_section
from subset import PHRASES

from wakeword.clips.dataset import load_background, load_clips
from wakeword.evaluate.recordings import snr_of
from wakeword.evaluate.report import percent
from wakeword.evaluate.result import AtThreshold, EvaluationResult, Misses
from wakeword.evaluate.run import evaluate, speech_and_noise
from wakeword.manifest import Mode

OUT = Path(__file__).resolve().parent / "out"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--mode", action="append", choices=("cascade", "student", "verifier"))
    parser.add_argument("--snr", action="append")
    parser.add_argument("--max-clips", type=int)
    arguments = parser.parse_args()
    snrs = [snr_of(text) for text in arguments.snr or ("clean", "10")]
    for mode in arguments.mode or ("cascade",):
        result = judge(arguments.model, arguments.corpus, mode, snrs, arguments.max_clips)
        name = f"accuracy {mode}" + (f" {arguments.max_clips}" if arguments.max_clips else "")
        update_section(name, f"## Accuracy: {mode}\n\n{provenance()}\n\n{table(result)}")


def judge(
    model: Path, corpus: Path, mode: Mode, snrs: list[float | None], max_clips: int | None
) -> EvaluationResult:
    clips = [c for c in load_clips(corpus, PHRASES) if c.split == "test"]
    speech, noise = speech_and_noise([c for c in load_background([corpus]) if c.split == "test"])
    out = OUT / f"accuracy-{mode}"
    out.mkdir(parents=True, exist_ok=True)
    return evaluate(model, clips, speech, noise, out, snrs, max_phrases=max_clips, mode=mode)


def table(result: EvaluationResult) -> str:
    conditions = result.conditions
    share = percent(result.facts["verifier_share"])
    lines = [
        f"{result.facts['clips']} test phrases by {result.facts['speakers']} pseudo-speakers. Posteriors "
        f"above 0 on {share} of the background's hops. Thresholds from dev.",
        "",
        "| FA/h wanted | phrase | " + " | ".join(f"missed, {c}" for c in conditions) + " | FA/h on test |",
        "|---|---|" + "---|" * (len(conditions) + 1),
    ]
    for rate in sorted({row.wanted_fa_per_hour for row in result.at_threshold}):
        rows = result.headline(rate)
        lines += [line(row, conditions) for row in rows]
        means = " | ".join(f"**{percent(result.mean_miss_rate(c, rate))}**" for c in conditions)
        accepts = sum(row.false_accepts.per_hour for row in rows) / len(rows)
        lines.append(f"| {rate:g} | **mean** | {means} | **{accepts:.2f}** |")
    waits = [
        f"{w.phrase} {w.condition}: {w.median_s * 1000:.0f} ms, 95 % within {w.p95_s * 1000:.0f} ms"
        for w in result.latencies
    ]
    return "\n".join([*lines, "", f"Latency after the end of the phrase: {'; '.join(waits)}."])


def cell(misses: Misses) -> str:
    interval = f"{percent(misses.interval.low)} to {percent(misses.interval.high)}"
    return f"{percent(misses.rate)} ({interval}; {misses.missed} of {misses.spoken})"


def line(row: AtThreshold, conditions: tuple[str, ...]) -> str:
    misses = [cell(row.misses[c]) for c in conditions]
    accepts = row.false_accepts
    mark = "*" if row.extrapolated else ""
    return (
        f"| {row.wanted_fa_per_hour:g}{mark} | {row.phrase} | {' | '.join(misses)} "
        f"| {accepts.per_hour:.2f} ({accepts.interval.low:.2f} to {accepts.interval.high:.2f}) |"
    )


if __name__ == "__main__":
    main()
