"""What ESPHome reads beside a model: the manifest, version 2, and an example of the YAML around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from firmware_bridge.decision import FirmwareRule
from wakeword.errors import ExportError

VERSION = 2
FEATURE_STEP_MS = 10
MINIMUM_ESPHOME = "2024.7.0"
REQUIRED = ("type", "wake_word", "author", "model", "trained_languages", "version", "micro")
OPTIONAL = ("website",)
MICRO = (
    *("probability_cutoff", "feature_step_size", "sliding_window_size"),
    *("tensor_arena_size", "minimum_esphome_version"),
)


def manifest(
    phrase: str, model: str, rule: FirmwareRule, arena: int, author: str, languages: tuple[str, ...] = ("en",)
) -> dict[str, Any]:
    """The manifest of a model; `model` is its file name, `arena` in bytes with its margin."""
    return {
        "type": "micro",
        "wake_word": phrase,
        "author": author,
        "model": model,
        "trained_languages": list(languages),
        "version": VERSION,
        "micro": {
            "probability_cutoff": rule.probability,
            "feature_step_size": FEATURE_STEP_MS,
            "sliding_window_size": rule.window,
            "tensor_arena_size": arena,
            "minimum_esphome_version": MINIMUM_ESPHOME,
        },
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest as strictly as ESPHome does; ExportError says what is wrong with it."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ExportError(f"cannot read {path}: {err.strerror}") from err
    except ValueError as err:
        raise ExportError(f"{path}: not JSON ({err})") from err
    if not isinstance(entries, dict) or entries.get("version") != VERSION:
        given = entries.get("version") if isinstance(entries, dict) else None
        raise ExportError(f"{path}: manifest version {given!r}; this reads version {VERSION}")
    _check_keys(path, entries, REQUIRED, OPTIONAL)
    if not isinstance(entries["micro"], dict):
        raise ExportError(f"{path}: micro is a table, got {entries['micro']!r}")
    _check_keys(path, entries["micro"], MICRO, ())
    name = entries["model"]
    if not isinstance(name, str) or Path(name).name != name:
        raise ExportError(f"{path}: model is a file beside the manifest, got {name!r}")
    if type(entries["micro"]["tensor_arena_size"]) is not int:
        raise ExportError(f"{path}: tensor_arena_size is a whole number of bytes")
    return entries


def _check_keys(
    path: Path, entries: dict[str, Any], required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    if missing := [key for key in required if key not in entries]:
        raise ExportError(f"{path}: {missing[0]} is missing")
    if unknown := sorted(set(entries) - {*required, *optional}):
        raise ExportError(f"{path}: unknown key {unknown[0]!r}; ESPHome refuses it")


def example_yaml(name: str, phrase: str, manifest_name: str) -> str:
    """A device that listens with this model: an ESP32-S3 and an I2S microphone."""
    return EXAMPLE.format(name=name.replace("_", "-"), phrase=phrase, manifest=manifest_name)


EXAMPLE = """\
# An ESP32-S3 with an I2S microphone that logs "{phrase}". Pins are an example: set your board's.
#   esphome run {name}.yaml
esphome:
  name: wake-{name}

esp32:
  board: esp32-s3-devkitc-1
  framework:
    type: esp-idf

logger:

psram:
  mode: octal
  speed: 80MHz

i2s_audio:
  - id: i2s_in
    i2s_lrclk_pin: GPIO3
    i2s_bclk_pin: GPIO2

microphone:
  - platform: i2s_audio
    id: mic
    i2s_audio_id: i2s_in
    i2s_din_pin: GPIO4
    adc_type: external
    pdm: false
    channel: left
    sample_rate: 16000
    bits_per_sample: 32bit

micro_wake_word:
  id: mww
  microphone:
    microphone: mic
    gain_factor: 4
  stop_after_detection: false
  models:
    - model: {manifest}
  on_wake_word_detected:
    - logger.log:
        format: "heard %s"
        args: [wake_word.c_str()]
"""
