"""The int8 microcontroller students on test streams by the firmware's rule, beside microWakeWord's `alexa`.

    python benchmarks/firmware.py out/demo/demo.wakeword ../shared/corpus/index.csv [--phrase alexa ...]
                                  [--snr clean --snr 10 ...] [--max-minutes 5]

The students are those that `wakeword firmware train` left beside the bundle. They run as compiled C, which a
test holds to the bytes of the reference. Features of the streams are kept in benchmarks/out/firmware for the
next run. `--max-minutes` cuts what is heard of each kind of stream: to see that it runs, not to report.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from results import provenance, update_section, write_json
from subset import PHRASES

from firmware_bridge.checker import Checked, check_tflite
from firmware_bridge.compiled import quick_posteriors
from firmware_bridge.decision import FirmwareRule
from firmware_bridge.emit_c import emit_library
from firmware_bridge.judge import (
    HeardStream,
    Posteriors,
    Run,
    false_accepts,
    hear,
    hours,
    outcome,
    run_on,
)
from firmware_bridge.network_file import FirmwareModel, load_model
from firmware_bridge.operating import WINDOWS, cutoff_for
from firmware_bridge.proof import BUDGET_CORE, Cost, prove
from firmware_bridge.proof_audio import golden_pcm
from firmware_bridge.tflite import write_tflite
from firmware_bridge.train_job import student_path
from wakeword.clips.dataset import load_background, load_clips
from wakeword.evaluate.intervals import poisson_rate, speaker_bootstrap
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.recordings import snr_of
from wakeword.evaluate.streams import MixedStream, NegativeStream

CACHE = Path(__file__).resolve().parent / "out" / "firmware"
PEER, PEER_PHRASE = "microWakeWord alexa", "alexa"
RATE = "0.5"
SEED = 1
SIZE_HEAD = (
    "| phrase | parameters | .tflite bytes | arena bytes (x86-64) | states "
    "| C library on Cortex-M4: flash bytes | RAM bytes, stack included |"
)


@dataclass(frozen=True)
class Streams:
    """The test streams of one phrase, heard."""

    mixed: dict[str, list[HeardStream]]
    negative: list[HeardStream]


@dataclass(frozen=True)
class System:
    """Something to judge, and the rule it comes with."""

    name: str
    phrase: str
    posteriors: Posteriors
    rule: FirmwareRule


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--phrase", action="append")
    parser.add_argument("--snr", action="append")
    parser.add_argument("--max-minutes", type=float, default=math.inf)
    arguments = parser.parse_args()
    phrases = arguments.phrase or PHRASES
    snrs = arguments.snr or ["clean", "10"]
    models = {phrase: load_model(student_path(arguments.model, phrase)) for phrase in phrases}
    checked = {phrase: check_tflite(write_tflite(model.net)) for phrase, model in models.items()}
    costs = {phrase: cortex_m4(model) for phrase, model in models.items()}
    rows = list[dict[str, Any]]()
    for phrase, model in models.items():
        streams = hear_streams(phrase, arguments.corpus, snrs, arguments.max_minutes)
        rows += judge(model, phrase, streams)
    body = text(rows, models, checked, costs)
    if arguments.max_minutes < math.inf:
        print(body)
        return
    write_json("firmware", {"rows": rows})
    packages = ("numpy", "tflite-micro", "pymicro-features", "pymicro-wakeword")
    update_section("firmware", f"## Firmware\n\n{provenance(packages)}\n\n{body}")


def judge(model: FirmwareModel, phrase: str, streams: Streams) -> list[dict[str, Any]]:
    """One row for our student, and one for the peer where it knows the phrase."""
    systems = [System("ours", phrase, quick_posteriors(model.net), model.point(float(RATE)).rule)]
    if phrase == PEER_PHRASE:
        systems.append(System(PEER, phrase, *peer()))
    return [judge_system(system, streams) for system in systems]


def cortex_m4(model: FirmwareModel) -> Cost | None:
    """Flash and RAM of its C library, which has to give the reference's bytes there; None without tools."""
    with tempfile.TemporaryDirectory() as work:
        emit_library(model, Path(work) / "library", float(RATE), "benchmarks/firmware.py")
        found = prove(Path(work) / "library", [("golden", golden_pcm())], cores=(BUDGET_CORE,))
    if found.differing:
        raise SystemExit(f"{model.net.phrase}: {found.differing} bytes differ on {BUDGET_CORE}")
    return next((o.cost for o in found.outcomes if o.name == BUDGET_CORE), None)


def hear_streams(phrase: str, corpus: Path, snrs: Sequence[str], max_minutes: float) -> Streams:
    """Features of every test stream of a phrase."""
    clips = [c for c in load_clips(corpus, (phrase,)) if c.split == "test"]
    background = [c for c in load_background([corpus]) if c.split == "test"]
    speech = [c for c in background if c.kind == "speech"]
    noise = [c for c in background if c.kind != "speech"]
    mixed = {
        snr: build_mixed_streams(clips, speech, noise, MixConfig(snr_db=snr_of(snr)), SEED) for snr in snrs
    }
    negative = build_negative_streams(background)
    return Streams(
        {n: hear_all(part, max_minutes) for n, part in mixed.items()}, hear_all(negative, max_minutes)
    )


def hear_all(streams: Sequence[MixedStream | NegativeStream], max_minutes: float) -> list[HeardStream]:
    """Features of streams, the last of them the one that exceeds so many minutes."""
    heard, seconds = list[HeardStream](), 0.0
    for stream in streams:
        if seconds < 60 * max_minutes:
            heard.append(hear(stream, CACHE))
            seconds += len(heard[-1].features) / 100
    return heard


def judge_system(system: System, streams: Streams) -> dict[str, Any]:
    """At the rule it comes with, and at the lowest cutoff of its own test curve with the wanted rate."""
    negative = run_on(system.posteriors, streams.negative)
    mixed = {name: run_on(system.posteriors, part) for name, part in streams.mixed.items()}
    return {
        "system": system.name,
        "phrase": system.phrase,
        "at its rule": at_rule(system, system.rule, mixed, negative),
        "at equal rate": at_rule(system, best_rule(mixed, negative, system.phrase), mixed, negative),
    }


def best_rule(mixed: dict[str, list[Run]], negative: Sequence[Run], phrase: str) -> FirmwareRule:
    """Read from the test curve, for systems to be compared at one rate: fewest misses of all windows."""
    rules = [FirmwareRule(cutoff_for(negative, window, float(RATE)), window) for window in WINDOWS]
    return min(rules, key=lambda rule: sum(outcome(runs, phrase, rule).miss_rate for runs in mixed.values()))


def at_rule(
    system: System, rule: FirmwareRule, mixed: dict[str, list[Run]], negative: Sequence[Run]
) -> dict[str, Any]:
    n, total = false_accepts(negative, rule), hours(negative)
    interval = poisson_rate(n, total)
    found = {"cutoff": rule.cutoff, "window": rule.window, "false_accepts": n, "hours": total}
    found |= {"fa_low": interval.low, "fa_high": interval.high, "missed": {}}
    for name, runs in mixed.items():
        result = outcome(runs, system.phrase, rule)
        spread = speaker_bootstrap(list(result.missed), list(result.groups), np.random.default_rng(0))
        latency = float(np.median(result.latencies_s)) if result.latencies_s else float("nan")
        counts = {"missed": sum(result.missed), "spoken": len(result.missed), "rate": result.miss_rate}
        found["missed"][name] = counts | {"low": spread.low, "high": spread.high, "latency_s": latency}
    return found


def peer() -> tuple[Posteriors, FirmwareRule]:
    """microWakeWord's own `alexa`, run by `pymicro-wakeword`, with cutoff and window of its manifest."""
    from pymicro_wakeword import MicroWakeWord, Model

    model = MicroWakeWord.from_builtin(Model.ALEXA)
    rule = FirmwareRule(int(model.probability_cutoff * 255), model.sliding_window_size, model.stride)

    def run(features: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
        model.reset()
        model._probabilities = deque(maxlen=1)  # the newest, not a mean
        real = (features.astype(np.float64) - model.input_zero_point) * model.input_scale
        said = [model.process_streaming_prob(row.reshape(1, 1, -1)) for row in real]
        return np.rint(np.array(said[model.stride - 1 :: model.stride]) * 256).astype(np.uint8)

    model.sliding_window_size = 1
    return run, rule


def text(
    rows: Sequence[dict[str, Any]],
    models: Mapping[str, FirmwareModel],
    checked: Mapping[str, Checked],
    costs: Mapping[str, Cost | None],
) -> str:
    conditions = list(rows[0]["at its rule"]["missed"])
    lines = [
        "Phrases of the test split in mixed streams, and the test background; events by ESPHome's rule.",
        "",
    ]
    for key, head in (
        (
            "at its rule",
            f"Cutoff and window from dev for {RATE} false accepts an hour (the peer: its manifest's)",
        ),
        ("at equal rate", f"Cutoff and window from the test curve at {RATE} false accepts an hour at most"),
    ):
        lines += [f"### {head}", "", *table(rows, key, conditions), ""]
    lines += ["### Size", "", SIZE_HEAD, "|---|---|---|---|---|---|---|"]
    for phrase, c in checked.items():
        cost = costs[phrase]
        here = f"{cost.flash:,} | {cost.ram:,}" if cost else "not measured | not measured"
        parts = f"{models[phrase].net.n_parameters:,} | {c.size:,} | {c.arena or 0:,} | {c.variables}"
        lines.append(f"| {phrase} | {parts} | {here} |")
    return "\n".join(lines)


def table(rows: Sequence[dict[str, Any]], key: str, conditions: Sequence[str]) -> list[str]:
    head = " | ".join(f"missed, {c}" for c in conditions)
    lines = [f"| system | phrase | cutoff, window | {head} | FA/h on test | latency |"]
    lines.append("|---|---|---|" + "---|" * (len(conditions) + 2))
    for row in rows:
        at = row[key]
        misses = " | ".join(cell(at["missed"][c]) for c in conditions)
        rate = f"{at['false_accepts'] / at['hours']:.2f} ({at['fa_low']:.2f} to {at['fa_high']:.2f})"
        latency = f"{at['missed'][conditions[0]]['latency_s'] * 1000:.0f} ms"
        rule = f"{at['cutoff']}/255, {at['window']}"
        lines.append(f"| {row['system']} | {row['phrase']} | {rule} | {misses} | {rate} | {latency} |")
    ours = [row[key] for row in rows if row["system"] == "ours"]
    means = [float(np.mean([at["missed"][c]["rate"] for at in ours])) for c in conditions]
    accepts = float(np.mean([at["false_accepts"] / at["hours"] for at in ours]))
    cells = " | ".join(f"**{mean:.1%}**" for mean in means)
    return [*lines, f"| ours | **mean** | | {cells} | **{accepts:.2f}** | |"]


def cell(counts: dict[str, Any]) -> str:
    spread = f"{counts['low']:.1%} to {counts['high']:.1%}"
    return f"{counts['rate']:.1%} ({spread}; {counts['missed']} of {counts['spoken']})"


if __name__ == "__main__":
    main()
