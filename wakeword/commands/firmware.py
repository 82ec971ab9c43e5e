"""Microcontrollers: teach a student, build for ESPHome or as a C library, check what was built.

The commands about a device and its C library are in `wakeword.commands.firmware_device`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wakeword.commands import firmware_device
from wakeword.commands.options import BUNDLE, EXISTING
from wakeword.config import DEFAULT_FA_PER_HOUR
from wakeword.errors import UsageError

if TYPE_CHECKING:
    from firmware_bridge.network_file import Point


@click.group()
def firmware() -> None:
    """Bring a phrase to microcontrollers: ESPHome's micro_wake_word, or a C library."""


@firmware.command()
@BUNDLE
@click.option("--phrase", "phrases", multiple=True, help="A phrase of MODEL; repeatable [all of them].")
@click.option(
    "--clips",
    type=EXISTING,
    default=None,
    help="Folder with a folder per phrase, or a manifest CSV [a machine speaks them].",
)
@click.option(
    "--background",
    type=EXISTING,
    multiple=True,
    help="Folder or manifest; repeatable [a machine speaks it].",
)
@click.option("--drop-list", type=EXISTING, default=None, help="CSV of what to leave out, see check.")
@click.option("--versions", type=int, default=None, help="Augmented windows per clip [as MODEL was trained].")
@click.option("--negatives", type=int, default=None, help="Windows of background [as MODEL was trained].")
@click.option("--synthetic", type=int, default=None, help="Clips by machine of a phrase [as MODEL].")
@click.option("--aware", is_flag=True, help="Quantisation-aware: teach on with the rounding of int8.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same result.")
def train(
    model: Path,
    phrases: tuple[str, ...],
    clips: Path | None,
    background: tuple[Path, ...],
    drop_list: Path | None,
    versions: int | None,
    negatives: int | None,
    synthetic: int | None,
    aware: bool,
    seed: int,
) -> None:
    """Teach the microcontroller students of MODEL, one for each phrase, from its checkpoint and recordings.

    Name all phrases at once: most of what they learn from is made once for all. It is kept in MODEL's
    .micro/work, so that an interrupted run goes on where it was.
    """
    from firmware_bridge.train_job import Request, student_path, train_firmware
    from wakeword.bars import Bars
    from wakeword.clips.drop import NOTHING, read_drop_list

    given = {"versions": versions, "negatives": negatives, "synthetic": synthetic}
    data = {name: value for name, value in given.items() if value is not None}
    drop = read_drop_list(drop_list) if drop_list else NOTHING
    with Bars() as bars:
        made = train_firmware(Request(model, phrases, clips, background, data, seed, aware, drop), bars)
    for note in made[0].training["notes"]:
        click.echo(note)
    for student in made:
        click.echo(
            f"{student.net.phrase}: {student.net.n_parameters:,} parameters, "
            f"{student_path(model, student.net.phrase)}"
        )
        for rate, point in student.points.items():
            click.echo(f"  {_point_text(rate, point)}")


def _point_text(rate: str, point: Point) -> str:
    misses = ", ".join(f"{share:.1%} {name}" for name, share in point.misses.items())
    return (
        f"{rate} false accepts/h: cutoff {point.rule.cutoff}/255, window {point.rule.window}; "
        f"on dev {point.false_accepts} false accepts in {point.hours:.1f} h, missed {misses}"
    )


@firmware.command()
@BUNDLE
@click.option("--phrase", "phrases", multiple=True, help="The phrase; may be left out where there is one.")
@click.option("--target", type=click.Choice(["esphome", "c", "espdl"]), required=True)
@click.option("--out", type=EXISTING, required=True, help="Folder to write to.")
@click.option(
    "--fa-per-hour", type=float, default=DEFAULT_FA_PER_HOUR, show_default=True, help="Operating point."
)
@click.option(
    "--chip",
    type=click.Choice(["esp32s3", "esp32p4"]),
    default="esp32s3",
    show_default=True,
    help="Of espdl.",
)
def build(
    model: Path, phrases: tuple[str, ...], target: str, out: Path, fa_per_hour: float, chip: str
) -> None:
    """Write the files of one phrase of MODEL for a target. `wakeword firmware train` comes first."""
    if len(phrases) > 1:
        raise UsageError(f"{len(phrases)} phrases; a microcontroller's model has one: build each by itself")
    from firmware_bridge.train_job import find_student

    student = find_student(model, phrases[0] if phrases else None)
    if target == "c":
        from firmware_bridge.emit_c import emit_library

        emit_library(student, out, fa_per_hour, shlex.join(["wakeword", *sys.argv[1:]]))
        click.echo(f"C library in {out}; prove it: wakeword firmware prove {out}")
        return
    if target == "espdl":
        from firmware_bridge.espdl import build_espdl

        facts = build_espdl(student, out, chip)
        click.echo(
            f"{facts['bytes']:,} bytes for {chip} in {out}, not run on a device; off the int8 posteriors by "
            f"{facts['posterior_off_mean']:.4f} on average, {facts['posterior_off_max']:.3f} at most"
        )
        return
    from firmware_bridge.esphome import build_esphome

    checked = build_esphome(student, out, fa_per_hour)
    click.echo(checked.as_text())


@firmware.command()
@click.argument("path", type=EXISTING)
def check(path: Path) -> None:
    """Will ESPHome run this model? PATH is its manifest (.json) or its .tflite."""
    from firmware_bridge.checker import check_path

    click.echo(check_path(path).as_text())


for command in (firmware_device.prove, firmware_device.flash, firmware_device.listen):
    firmware.add_command(command)
