"""The figures of cost.py, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cost_systems import N_STREAMS

from wakeword.audio import HOP_S

SHOWN = ("mean", "median", "p99", "worst", "wall_median", "wall_p99")


@dataclass(frozen=True)
class HopTimes:
    """What the hops of one system took on one input, in ms."""

    mean: float
    """Processor time, all threads: other processes do not count."""
    median: float
    p99: float
    worst: float
    wall_mean: float
    wall_median: float
    wall_p99: float
    wall_worst: float
    hops: int


def hop_times(wall_s: Sequence[float], cpu_s: Sequence[float]) -> HopTimes:
    """Summarise the hops of all rounds."""
    return HopTimes(*_four(cpu_s), *_four(wall_s), hops=len(wall_s))


def _four(seconds: Sequence[float]) -> tuple[float, float, float, float]:
    ms = 1000 * np.asarray(seconds, dtype=np.float64)
    return float(ms.mean()), float(np.median(ms)), float(np.percentile(ms, 99)), float(ms.max())


def summary(answers: Sequence[Mapping[str, Any]]) -> HopTimes:
    """All rounds as one."""
    return hop_times(*([x for a in answers for x in a[key]] for key in ("wall_s", "cpu_s")))


def profile(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean ms a hop by part, from the difference between the first and the last round."""
    first, last = answers[0], answers[-1]
    hops = last["hops"] - first["hops"]
    total = sum(sum(a["wall_s"]) for a in answers[1:])
    spent = {p: 1000 * (last["spent_s"][p] - first["spent_s"][p]) / hops for p in last["spent_s"]}
    return {
        "hops": hops,
        "verified": last["verified"] - first["verified"],
        "spent_ms": spent,
        "total_ms": 1000 * total / hops,
    }


def streams(answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Rounds of one hop for every stream; how far a listener with that load would fall behind real time."""
    times = summary(answers)
    behind = worst_behind = 0.0
    for wall_s in (x for a in answers for x in a["wall_s"]):
        behind = max(0.0, behind + wall_s - HOP_S)
        worst_behind = max(worst_behind, behind)
    return {
        "mean": times.mean,
        "p99": times.p99,
        "worst": times.worst,
        "wall_p99": times.wall_p99,
        "behind": 1000 * worst_behind,
        "carries": N_STREAMS * 1000 * HOP_S / times.mean,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also readable as it is: the first column left, the others right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    line = "| " + " | ".join(["{:<%d}"] + ["{:>%d}"] * (len(head) - 1)) + " |"
    line = line % tuple(widths)
    rule = "|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (w + 1) + ":" for w in widths[1:]]) + "|"
    return "\n".join([line.format(*head), rule, *(line.format(*row) for row in rows)])


def hops_table(times: Mapping[str, Mapping[str, float]], ours: str) -> str:
    """All systems on one input; the ratio is of mean processor time to ours."""
    head = ["system", "mean", "median", "p99", "worst", "wall median", "wall p99", "core", "times ours"]
    rows = [
        [name, *(f"{t[key]:.3f}" for key in SHOWN),
         f"{t['mean'] / (10 * HOP_S):.2f} %", f"{t['mean'] / times[ours]['mean']:.2f}"]
        for name, t in times.items()
    ]  # fmt: skip
    return table(head, rows)


def memory_table(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """Memory, size and start of all systems."""
    head = ["system", "resident MB", "models MB", "start to first hop s"]
    rows = [
        [name, f"{f['resident_bytes'] / 1e6:.0f}", f"{f['bytes'] / 1e6:.2f}", f"{f['start_s']:.2f}"]
        for name, f in facts.items()
    ]
    return table(head, rows)


def parts_table(profiles: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the cascade's time goes, in ms a hop by the wall clock, and how often the verifier ran."""
    parts = list(next(iter(profiles.values()))["spent_ms"])
    head = ["input", *parts, "rest", "verifier's share of hops"]
    rows = []
    for name, profile in profiles.items():
        spent = profile["spent_ms"]
        rest = profile["total_ms"] - sum(spent.values())
        share = f"{100 * profile['verified'] / profile['hops']:.1f} %"
        rows.append([name, *(f"{spent[part]:.4f}" for part in parts), f"{rest:.4f}", share])
    return table(head, rows)


def section(figures: Mapping[str, Any], ours: str) -> str:
    """The section of RESULTS.md."""
    parts = ["## Cost", figures["provenance"], NOTES.format(**figures["plan"])]
    for name, by_system in figures["hops"].items():
        parts += [f"### {name}: ms per 80 ms hop", hops_table(by_system, ours)]
    hour = figures["hour"]
    parts += [
        "### Memory, size, start",
        memory_table(figures["systems"]),
        f"`wakeword listen` after {hour['heard_s'] / 3600:.2f} h of audio: "
        f"{hour['after_bytes'] / 1e6:.0f} MB resident ({hour['before_bytes'] / 1e6:.0f} MB after the first "
        f"10 s), largest {hour['peak_bytes'] / 1e6:.0f} MB.",
        "### Where the time goes (cascade)",
        parts_table(figures["profile"]),
        f"### {N_STREAMS} streams on one thread, one set of models",
        streams_table(figures["streams"]),
        "### Time from the end of the phrase to its detection",
        latency_table(figures["latency"]),
    ]
    return "\n\n".join(parts)


NOTES = """\
Each system runs in its own process with one thread, on one core, and hears the same {seconds:.0f} s of each
input, in {rounds} rounds in which the systems take turns, so that what else the machine does hits all alike.
mean, median, p99 and worst are processor time of the process, "core" is the mean's share of one core,
"times ours" is the ratio of means; wall is the clock on the wall, other processes included.
Ours hears {phrases} phrases, each peer one (`alexa`, where nothing else is said). livekit-wakeword ships
no phrase and runs openWakeWord's `alexa`, which has the same interface, on the last 2 s as its own listener
does."""


def streams_table(inputs: Mapping[str, Mapping[str, float]]) -> str:
    """What a round of one hop for every stream took, of its 80 ms."""
    head = [
        "input",
        "mean ms",
        "p99 ms",
        "worst ms",
        "wall p99 ms",
        "most behind ms",
        "streams a core carries",
    ]
    rows = [
        [
            name,
            *(f"{x[k]:.2f}" for k in ("mean", "p99", "worst", "wall_p99", "behind")),
            f"{x['carries']:.0f}",
        ]
        for name, x in inputs.items()
    ]
    return table(head, rows)


def latency_table(latency: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Median and 95th percentile by mode and condition."""
    head = ["mode", "condition", "median s", "p95 s", "heard", "spoken"]
    rows = [
        [mode, condition, f"{x['median']:.2f}", f"{x['p95']:.2f}", f"{x['heard']:.0f}", f"{x['spoken']:.0f}"]
        for mode, conditions in latency.items()
        for condition, x in conditions.items()
    ]
    return table(head, rows)
