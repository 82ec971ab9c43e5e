"""Puts a built firmware on an Espressif chip by esptool: composes the command, shows it, runs it.

What it takes: the build folder of ESP-IDF (its `flasher_args.json` says what goes where), or one image that
holds everything (`firmware.factory.bin` of ESPHome, `merged-binary.bin`), which goes to address 0.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wakeword.errors import DeviceError, UsageError, WakewordError

CHIPS = ("auto", "esp32", "esp32s2", "esp32s3", "esp32c3", "esp32c6", "esp32h2", "esp32p4")
IMAGE_MAGIC = 0xE9
"""First byte of an Espressif image."""
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class FlashPlan:
    """What is written where."""

    chip: str
    parts: tuple[tuple[int, Path], ...]
    """Addresses and files."""
    options: tuple[str, ...] = ()
    """Of write-flash: --flash-mode dio and so on."""


def plan_flash(source: Path, chip: str) -> FlashPlan:
    """Find out what a build folder or an image needs; UsageError where it is neither."""
    if chip not in CHIPS:
        raise UsageError(f"--chip {chip}; choose one of {', '.join(CHIPS)}")
    if source.is_dir():
        return _plan_build(source, chip)
    if not source.is_file():
        raise UsageError(f"no such file or folder: {source}")
    _check_image(source)
    return FlashPlan(chip, ((0, source),))


def _plan_build(folder: Path, chip: str) -> FlashPlan:
    path = next((p for p in (folder, folder / "build") if (p / "flasher_args.json").is_file()), None)
    if path is None:
        hint = (
            "this is the library; build it into a firmware first"
            if (folder / "ww_build.json").is_file()
            else ""
        )
        raise UsageError(
            f"{folder} has no flasher_args.json, as idf.py build leaves it{hint and '; ' + hint}"
        )
    try:
        told = json.loads((path / "flasher_args.json").read_text())
        parts = tuple(sorted((int(at, 0), path / name) for at, name in told["flash_files"].items()))
        options = tuple(_new_style(str(option)) for option in told.get("write_flash_args", ()))
        built_for = str(told.get("extra_esptool_args", {}).get("chip", "auto"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise UsageError(f"{path / 'flasher_args.json'}: damaged ({err})") from err
    if chip != "auto" and built_for not in ("auto", chip):
        raise UsageError(f"--chip {chip}, but {folder} was built for {built_for}")
    for _, file in parts:
        if not file.is_file() or not file.resolve().is_relative_to(path.resolve()):
            raise UsageError(f"{file} is missing from the build; run idf.py build")
    return FlashPlan(built_for if chip == "auto" else chip, parts, options)


def _new_style(option: str) -> str:
    """ESP-IDF still writes --flash_mode where esptool 5 says --flash-mode."""
    return option.replace("_", "-") if option.startswith("--") else option


def _check_image(path: Path) -> None:
    head = path.read_bytes()[:0x1001]
    if IMAGE_MAGIC not in head[:1] + head[0x1000:0x1001]:  # the ESP32's boot loader lies at 0x1000
        raise UsageError(
            f"{path} is not an Espressif image (it begins with {head[:1].hex() or 'nothing'}, not e9); "
            "ESPHome makes firmware.factory.bin, ESP-IDF merged-binary.bin (idf.py merge-bin)"
        )


def flash_command(plan: FlashPlan, port: str | None, baud: int) -> list[str]:
    """The command that writes it."""
    command = [sys.executable, "-m", "esptool", "--chip", plan.chip, "--baud", str(baud)]
    command += ["--port", port] if port else []
    command += ["write-flash", *plan.options]
    return command + [text for at, path in plan.parts for text in (f"{at:#x}", str(path))]


def run_flash(command: Sequence[str]) -> None:
    """Run it, its output going to the terminal; DeviceError where it fails."""
    if importlib.util.find_spec("esptool") is None:
        raise WakewordError("this needs esptool; run: pip install 'esptool>=5'")
    try:
        done = subprocess.run(command, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as err:
        raise DeviceError(f"esptool was ended after {TIMEOUT_S:g} s") from err
    if done.returncode:
        raise DeviceError(
            f"esptool failed ({done.returncode}), see above; is the port right, and the chip in its boot "
            "loader (hold BOOT, press RESET)?"
        )
