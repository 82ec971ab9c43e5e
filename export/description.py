"""`detector.json`: what a host must know to do with the exported files what `wakeword listen` does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from export.frontend import audio_samples
from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE
from wakeword.decision import DecisionConfig
from wakeword.errors import ExportError
from wakeword.manifest import Manifest, Mode, StudentManifest, Threshold
from wakeword.scorer import hops_to_fill

DESCRIPTION = "detector.json"
FORMAT = 1


@dataclass(frozen=True)
class ExportedFile:
    """One network in an exported folder."""

    file: str
    role: str
    """"verifier" or "student" ("classifier" for openWakeWord)."""
    input: str
    """"mel" or "audio"."""
    precision: str
    """"fp32", "fp16", "int8" or "int8-static"."""
    runtime: str
    """"onnx" or "ort"."""


def describe_export(
    manifest: Manifest, target: str, files: Sequence[ExportedFile], folder: Path, source_sha256: str
) -> dict[str, Any]:
    """Everything a host needs, as plain values; see docs/exporting.md for what each means."""
    modes = get_args(Mode) if manifest.student else ("verifier",)
    return {
        "format": FORMAT,
        "target": target,
        "name": manifest.name,
        "phrases": list(manifest.phrases),
        "sample_rate": SAMPLE_RATE,
        "hop_samples": HOP_SAMPLES,
        "window": {"mel_frames": manifest.window if manifest.input == "mel" else None}
        | {"samples": window_samples(manifest)},
        "warm_up_hops": hops_to_fill(manifest),
        "mode": manifest.mode,
        "decision": asdict(manifest.decision),
        "default_fa_per_hour": manifest.default_fa_per_hour,
        "thresholds": {mode: _points(manifest, mode) for mode in modes},
        "student": None if manifest.student is None else _student(manifest),
        "files": [asdict(f) | _facts(folder / f.file) for f in files],
        "made_from": {"sha256": source_sha256, "encoder": manifest.encoder},
        "wakeword_version": manifest.wakeword_version,
    }


def window_samples(manifest: Manifest) -> int:
    """Samples that the audio-in verifier takes."""
    return audio_samples(manifest.window) if manifest.input == "mel" else manifest.window


def _points(manifest: Manifest, mode: Mode) -> dict[str, list[float]]:
    """false accepts per hour -> a threshold for each phrase, in their order; only what all of them have."""
    tables = [manifest.thresholds_of(mode)[phrase] for phrase in manifest.phrases]
    rates = [rate for rate in tables[0] if all(rate in table for table in tables)]
    return {rate: [table[rate].value for table in tables] for rate in rates}


def _student(manifest: Manifest) -> dict[str, Any]:
    assert manifest.student is not None
    settings = manifest.student
    return {
        "gate": [settings.gate[phrase] for phrase in manifest.phrases],
        "hangover_hops": settings.hangover_hops,
        "promising": settings.promising,
        "evidence": settings.evidence,
        "evidence_hops": settings.evidence_hops,
        "stride_hops": settings.stride_hops,
    }


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """The same values always give the same bytes."""
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def manifest_of(description: Mapping[str, Any]) -> Manifest:
    """As much of the bundle's manifest as a listener needs."""
    frames = description["window"]["mel_frames"]
    phrases = tuple(description["phrases"])
    points = {
        mode: {
            phrase: {rate: Threshold(values[k], False) for rate, values in table.items()}
            for k, phrase in enumerate(phrases)
        }
        for mode, table in description["thresholds"].items()
    }
    student = description["student"]
    return Manifest(
        name=description["name"],
        phrases=phrases,
        input="audio" if frames is None else "mel",
        window=frames or description["window"]["samples"],
        thresholds=points["verifier"],
        default_fa_per_hour=description["default_fa_per_hour"],
        decision=DecisionConfig(**description["decision"]),
        student=None
        if student is None
        else StudentManifest(
            gate=dict(zip(phrases, student["gate"], strict=True)),
            hangover_hops=student["hangover_hops"],
            promising=student["promising"],
            evidence=student["evidence"],
            evidence_hops=student["evidence_hops"],
            stride_hops=student.get("stride_hops", 1),
            thresholds=points["student"],
            cascade_thresholds=points["cascade"],
        ),
    )


def read_description(folder: Path) -> dict[str, Any]:
    """`detector.json` of an exported folder, its files checked; ExportError says what is wrong."""
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] > FORMAT:
            raise ExportError(f"{path}: made by a newer wakeword; upgrade with pip install -U wakeword")
        names = [(f["file"], f["sha256"]) for f in values["files"]]
    except OSError as err:
        raise ExportError(f"{folder}: no exported folder (no {DESCRIPTION} in it)") from err
    except (ValueError, KeyError, TypeError) as err:
        raise ExportError(f"{path}: damaged ({err}); export again") from err
    for name, digest in names:
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise ExportError(f"{file}: missing; export again")
        if sha256_of(file) != digest:
            raise ExportError(f"{file}: changed since it was exported; export again")
    checked: dict[str, Any] = values
    return checked
