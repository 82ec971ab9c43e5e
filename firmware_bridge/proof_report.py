"""A proof as a file for programs (`proof.json`) and as a table for people (`proof.md`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firmware_bridge.emit_c import GENERATOR
from firmware_bridge.proof import BUDGET_CORE, FLASH_BUDGET, RAM_BUDGET, Outcome, Proof
from wakeword.errors import ExportError
from wakeword.files import written_whole

JSON_FILE, TABLE_FILE = "proof.json", "proof.md"
MEGAHERTZ = (80, 240)
PROXY = (
    "Instructions are counted by QEMU, which does not know cycles. Loads assume one instruction a cycle;\n"
    "slow flash and processors that stall add to them."
)


def write_proof(proof: Proof) -> tuple[Path, Path]:
    """Write both files into the library's folder; ExportError where that cannot be written to."""
    folder = proof.build.folder
    paths = folder / JSON_FILE, folder / TABLE_FILE
    texts = json.dumps(as_json(proof), indent=2) + "\n", f"# Proof\n\n```\n{as_text(proof)}\n```\n"
    for path, text in zip(paths, texts, strict=True):
        try:
            with written_whole(path) as partial:
                partial.write_text(text)
        except OSError as err:
            raise ExportError(f"cannot write {path}: {err.strerror or err}") from err
    return paths


def as_json(proof: Proof) -> dict[str, Any]:
    """Everything that was found."""
    model = proof.build.c_model
    return {
        "format": 1,
        "generator": GENERATOR,
        "phrase": model.net.phrase,
        "model_sha256": model.sha256,
        "audio": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in proof.audio],
        "slices": len(proof.expected.features),
        "steps": len(proof.expected.scores),
        "events_s": [(10 * i + 30) / 1000 for i in proof.expected.event_slices],
        "expected_sha256": hashlib.sha256(proof.expected.records.tobytes()).hexdigest(),
        "parameters": model.net.n_parameters,
        "macs_per_step": model.net.macs,
        "differing_bytes": proof.differing,
        "within_budget": not proof.over_budget,
        "assumption": PROXY.replace("\n", " "),
        "runtimes": [_outcome(outcome) for outcome in proof.outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {"name": outcome.name, "differing_bytes": outcome.differing}
    told |= {"skipped": outcome.why_not} if outcome.differing is None else {}
    told |= {"note": outcome.note} if outcome.note else {}
    if outcome.cost is not None:
        cost = outcome.cost
        loads = {f"load_percent_{mhz}_mhz": round(100 * cost.load(mhz), 2) for mhz in MEGAHERTZ}
        told |= asdict(cost) | {"flash": cost.flash, "ram": cost.ram} | loads
    return told


def as_text(proof: Proof) -> str:
    """The tables and what they mean."""
    model, n_events = proof.build.c_model, len(proof.expected.event_slices)
    heard = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in proof.audio)
    lines = [
        f"{model.net.phrase}: {model.net.n_parameters:,} parameters, {model.net.macs:,} MACs a step of 30 ms",
        f"audio: {heard}; {len(proof.expected.scores):,} steps, {n_events} events"
        + ("" if n_events else "; add --audio with the phrase in it, to have events compared, too"),
        "",
        columns(("runtime", "differing bytes", ""), [_row(outcome) for outcome in proof.outcomes]),
    ]
    costs = [_cost_row(outcome) for outcome in proof.outcomes if outcome.cost is not None]
    if costs:
        loads = tuple(f"% of {mhz} MHz" for mhz in MEGAHERTZ)
        head = ("core", ".text", ".rodata", ".bss", "stack", "instructions/10 ms", "in one call", *loads)
        lines += ["", columns(head, costs), "", PROXY]
        lines.append(
            f"Allowed on a {BUDGET_CORE}: {FLASH_BUDGET:,} bytes of flash, {RAM_BUDGET:,} of RAM: "
            + ("EXCEEDED" if proof.over_budget else "kept")
        )
    return "\n".join(lines)


def _row(outcome: Outcome) -> tuple[str, ...]:
    if outcome.differing is None:
        return outcome.name, "-", f"skipped: {outcome.why_not}"
    return outcome.name, f"{outcome.differing:,}", outcome.note


def _cost_row(outcome: Outcome) -> tuple[str, ...]:
    cost = outcome.cost
    assert cost is not None
    numbers = (
        cost.text,
        cost.rodata,
        cost.bss,
        cost.stack,
        cost.instructions_per_slice,
        cost.most_instructions,
    )
    return outcome.name, *(f"{n:,}" for n in numbers), *(f"{100 * cost.load(mhz):.1f}" for mhz in MEGAHERTZ)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text: the first column to the left, numbers to the right, words to the left."""
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    numeric = [
        i > 0 and all(row[i][:1].isdigit() or row[i] in ("", "-") for row in rows) for i in range(len(head))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in table
    )
