"""A bundle in words: what `wakeword info` prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from wakeword.audio import FRAME_SAMPLES, HOP_S, SAMPLE_RATE
from wakeword.bundle import Manifest


def manifest_dict(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain values, for JSON."""
    return asdict(manifest)


def window_seconds(manifest: Manifest) -> float:
    """Audio under one posterior, in seconds."""
    step = FRAME_SAMPLES if manifest.input == "mel" else 1
    return manifest.window * step / SAMPLE_RATE


def describe(manifest: Manifest, path: Path) -> str:
    """A few lines for a person."""
    lines = [
        f"{manifest.name} ({path.stat().st_size / 1e6:.1f} MB): {', '.join(manifest.phrases)}",
        f"encoder {manifest.encoder}; window {window_seconds(manifest):.2f} s, "
        f"a posterior every {HOP_S * 1000:.0f} ms",
        f"threshold by false accepts per hour (default {manifest.default_fa_per_hour}; * = extrapolated):",
    ]
    for phrase in manifest.phrases:
        points = (
            f"{rate}: {t.value:.4f}{'*' if t.extrapolated else ''}"
            for rate, t in manifest.thresholds_of(manifest.mode)[phrase].items()
        )
        lines.append(f"  {phrase:<16} {'   '.join(points)}")
    if manifest.student is not None:
        gates = ", ".join(f"{phrase} {gate:.3g}" for phrase, gate in manifest.student.gate.items())
        lines.append(f"a student hears everything and wakes the verifier from a score of: {gates}")
    lines += _dev_lines(manifest)
    lines.append(verdict_line(manifest))
    lines += [f"licence of {what}: {licence}" for what, licence in manifest.licences.items()]
    return "\n".join(lines)


def _dev_lines(manifest: Manifest) -> list[str]:
    """Misses and false accepts of each phrase on dev, where they were measured."""
    dev = manifest.results.get("dev", {})
    lines = ["on dev, at the default thresholds:"] if dev else []
    for phrase, row in dev.items():
        missed = ", ".join(f"{m['rate']:.1%} missed {condition}" for condition, m in row["misses"].items())
        accepts = row["false_accepts"]
        lines.append(f"  {phrase:<16} {missed}; {accepts['count']} false accepts in {accepts['hours']:.1f} h")
    return lines


def verdict_line(manifest: Manifest) -> str:
    """Ready or not, why, and what would help most."""
    verdict = manifest.results.get("verdict")
    if verdict is None:
        return "verdict: not judged"
    if verdict["ready"]:
        return "verdict: ready"
    return f"verdict: NOT READY: {'; '.join(verdict['reasons'])}. Next: {verdict['next_step']}"
