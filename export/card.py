"""The model card of an exported folder: MODEL_CARD.md for people, model_card.json for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.description import write_json
from wakeword.audio import FRAME_SAMPLES, SAMPLE_RATE
from wakeword.manifest import Manifest

CARD, CARD_JSON = "MODEL_CARD.md", "model_card.json"
LIMITS = (
    "It hears the phrases it was trained on, in the language and the kind of voices of its clips; others are "
    "not measured.",
    "Thresholds are set on recordings: in another room, with other sounds, false accepts per hour differ.",
    "A phrase is heard at most once in its refractory period.",
    "It is no proof of who speaks, and nothing safety-critical should hang on it.",
)


def write_card(
    folder: Path, manifest: Manifest, target: str, files: Sequence[Mapping[str, Any]], command: str
) -> None:
    """Write both files. `files` is the list in `detector.json`; `command` is what makes the folder again."""
    card = card_values(manifest, target, files, command)
    write_json(folder / CARD_JSON, card)
    (folder / CARD).write_text(_text(card), encoding="utf-8")


def card_values(
    manifest: Manifest, target: str, files: Sequence[Mapping[str, Any]], command: str
) -> dict[str, Any]:
    """The card as plain values."""
    training = dict(manifest.training)
    settings = training.pop("settings", {})
    frames = FRAME_SAMPLES if manifest.input == "mel" else 1
    return {
        "name": manifest.name,
        "target": target,
        "phrases": list(manifest.phrases),
        "encoder": manifest.encoder,
        "window_s": manifest.window * frames / SAMPLE_RATE,
        "mode": manifest.mode,
        "files": list(files),
        "data": training,
        "results": dict(manifest.results),
        "operating_points": {
            phrase: {
                rate: {"threshold": t.value, "extrapolated": t.extrapolated} for rate, t in points.items()
            }
            for phrase, points in manifest.thresholds_of(manifest.mode).items()
        },
        "default_fa_per_hour": manifest.default_fa_per_hour,
        "licences": dict(manifest.licences),
        "data_licences": "not recorded in the bundle; see the recordings it was trained on",
        "limits": list(LIMITS),
        "reproduce": {
            "export": command,
            "settings": settings,
            "wakeword_version": manifest.wakeword_version,
        },
    }


def _text(card: Mapping[str, Any]) -> str:
    phrases = ", ".join(card["phrases"])
    parts = [
        f"# {card['name']}: {phrases}",
        f"A wake-word detector: encoder `{card['encoder']}`, window {card['window_s']:.2f} s, a "
        f"decision every 80 ms, mode `{card['mode']}`. Exported for `{card['target']}`.",
        "## Files",
        _table(
            ("file", "what", "takes", "precision", "MB"),
            [
                (f["file"], f["role"], f["input"], f["precision"], f"{f['bytes'] / 1e6:.2f}")
                for f in card["files"]
            ],
        ),
        "## Data",
        _data(card["data"]),
        "## Figures",
        _figures(card["results"]),
        "## Operating points",
        f"Thresholds by false accepts per hour (default {card['default_fa_per_hour']}; * = extrapolated).",
        _points(card["operating_points"]),
        "## Licences",
        "\n".join(f"- {what}: {licence}" for what, licence in card["licences"].items())
        + f"\n- data: {card['data_licences']}",
        "## Limits",
        "\n".join(f"- {limit}" for limit in card["limits"]),
        "## How to reproduce",
        f"```sh\n{card['reproduce']['export']}\n```",
        f"wakeword {card['reproduce']['wakeword_version']}; the training settings are in `{CARD_JSON}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _data(data: Mapping[str, Any]) -> str:
    lines = []
    for phrase, counts in data.get("clips", {}).items():
        lines.append(f"- clips of {phrase}: " + ", ".join(f"{n} {split}" for split, n in counts.items()))
    if hours := data.get("background_hours"):
        lines.append("- background: " + ", ".join(f"{h:g} h {split}" for split, h in hours.items()))
    if policy := data.get("policy"):
        lines.append(f"- retrained: {policy} ({data.get('policy_reason', 'no reason recorded')})")
    return "\n".join(lines) or "The bundle records nothing of its training data."


def _figures(results: Mapping[str, Any]) -> str:
    dev = results.get("dev") or {}
    if not dev:
        return (
            "The bundle holds no measured figures. Measure them: `wakeword evaluate MODEL --phrases CLIPS "
            "--background BACKGROUND`."
        )
    conditions = list(dict.fromkeys(c for row in dev.values() for c in row.get("misses", {})))
    rows = [
        [phrase, *(_misses(row["misses"].get(c)) for c in conditions), _accepts(row["false_accepts"])]
        for phrase, row in dev.items()
    ]
    head = ["phrase", *(f"missed, {c}" for c in conditions), "false accepts per hour"]
    verdict = results.get("verdict", {}).get("reasons", [])
    note = "Counted on the dev recordings that the thresholds were set on (95 % intervals); a test is fairer."
    return "\n\n".join([note, _table(head, rows), "\n".join(f"- {reason}" for reason in verdict)]).strip()


def _misses(misses: Mapping[str, Any] | None) -> str:
    if misses is None:
        return "not measured"
    low, high = misses["interval"]["low"], misses["interval"]["high"]
    return f"{misses['rate']:.1%} ({low:.1%} to {high:.1%}; {misses['missed']} of {misses['spoken']})"


def _accepts(accepts: Mapping[str, Any]) -> str:
    low, high = accepts["interval"]["low"], accepts["interval"]["high"]
    return f"{accepts['per_hour']:.2f} ({low:.2f} to {high:.2f}) in {accepts['hours']:.1f} h"


def _points(points: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    rates = list(dict.fromkeys(rate for table in points.values() for rate in table))
    rows = [[phrase, *(_point(table.get(rate)) for rate in rates)] for phrase, table in points.items()]
    return _table(["phrase", *rates], rows)


def _point(point: Mapping[str, Any] | None) -> str:
    if point is None:
        return "-"
    return f"{point['threshold']:.4f}{'*' if point['extrapolated'] else ''}"
