"""Everything an ESPHome device needs of a model, checked before it is written."""

from __future__ import annotations

import json
from pathlib import Path

from firmware_bridge.arena import STEP
from firmware_bridge.checker import Checked, check_tflite
from firmware_bridge.manifest import example_yaml, manifest
from firmware_bridge.network_file import FirmwareModel, slug
from firmware_bridge.tflite import write_tflite
from wakeword.errors import ExportError
from wakeword.files import written_whole

ARENA_MARGIN = 1.125
"""Of the arena in the manifest over what was needed here: a device's own kernels put scratch memory aside."""
UNMEASURED = 40_000
"""Where it could not be measured: more than any network of 60,000 parameters was seen to need."""
AUTHOR = "made with wakeword"


def build_esphome(model: FirmwareModel, folder: Path, fa_per_hour: float, author: str = AUTHOR) -> Checked:
    """Write NAME.tflite, .json and .yaml to a folder; ExportError where ESPHome would not run them."""
    name = slug(model.net.phrase)
    if not name:
        raise ExportError(f"no file can be named after the phrase {model.net.phrase!r}")
    data = write_tflite(model.net)
    checked = check_tflite(data)
    entries = manifest(
        model.net.phrase,
        f"{name}.tflite",
        model.point(fa_per_hour).rule,
        arena_with_margin(checked.arena),
        author,
    )
    _write(folder / f"{name}.tflite", data)
    _write(folder / f"{name}.json", (json.dumps(entries, indent=2) + "\n").encode())
    _write(folder / f"{name}.yaml", example_yaml(name, model.net.phrase, f"{name}.json").encode())
    return checked


def arena_with_margin(needed: int | None) -> int:
    """What a manifest asks for, in whole 16 bytes."""
    if needed is None:
        return UNMEASURED
    return -(-int(needed * ARENA_MARGIN) // STEP) * STEP


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            partial.write_bytes(data)
    except OSError as err:
        raise ExportError(f"cannot write {path}: {err.strerror or err}") from err
