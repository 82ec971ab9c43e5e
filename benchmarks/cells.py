"""Studies of many small trainings ("cells"): spread over the cores, and each kept: a stopped one goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cached_streams import spread, write_cell
from results import OUT, update_section, write_json


class Named(Protocol):
    """A cell: frozen, and with the name of its file."""

    def name(self) -> str:
        """Of its file."""


AnyCell = TypeVar("AnyCell", bound=Named)


class Silent:
    """Progress that is not shown: cells run side by side."""

    def start(self, stage: str, total: int) -> None:
        """Nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Nothing."""


def study_folder(study: str, settings: Any) -> Path:
    """Where all that these settings (a dataclass) make is kept: another setting is another folder."""
    text = json.dumps(asdict(settings), sort_keys=True)
    return OUT / study / hashlib.sha256(text.encode()).hexdigest()[:10]


def run_cells(
    run: Callable[[AnyCell, Any], dict[str, Any]],
    cells: Sequence[AnyCell],
    settings: Any,
    folder: Path,
    cost: Callable[[AnyCell], float] = lambda _: 0.0,
) -> dict[AnyCell, dict[str, Any]]:
    """Results of all cells, those in `folder` read, the others run; the greatest `cost` is begun first."""
    paths = {cell: folder / f"{cell.name()}.json" for cell in cells}
    missing = sorted((c for c in cells if not paths[c].exists()), key=lambda c: -cost(c))
    begun = time.monotonic()
    for n, (cell, result) in enumerate(spread(run, missing, settings), 1):
        write_cell(paths[cell], result)
        left = (time.monotonic() - begun) / n * (len(missing) - n) / 60
        print(f"{n} of {len(missing)}: {cell.name()}; {left:.0f} minutes left", flush=True)
    return {cell: json.loads(path.read_text(encoding="utf-8")) for cell, path in paths.items()}


def file_name(recipe: str, epochs: int, seed: int) -> str:
    """Of the cell of a recipe that is named in words."""
    slug = "".join(c if c.isalnum() else "-" for c in recipe)
    return f"{slug}-{epochs}epochs-seed{seed}"


def publish(study: str, body: str, results: Mapping[AnyCell, dict[str, Any]], trial: bool) -> None:
    """Show the section, and keep it and all figures; those of a trial by another name, and no section."""
    print(body)
    figures = [{"cell": cell.name(), **result} for cell, result in results.items()]
    write_json(f"{study} trial" if trial else study, {"cells": figures})
    if not trial:
        update_section(study, body)
