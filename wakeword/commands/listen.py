"""Listening."""

from __future__ import annotations

from pathlib import Path

import click

import wakeword
from wakeword.commands.options import AS_JSON, EXISTING, MODE
from wakeword.manifest import Mode


@click.command()
@click.argument("models", nargs=-1, required=True, type=EXISTING)
@click.option("--file", "source", default=None, help="Listen to a file, or - for PCM or WAV on stdin.")
@click.option("--device", default=None, help="Microphone: number or part of its name.")
@click.option("--fa-per-hour", type=float, default=None, help="False accepts per hour to run at.")
@click.option("--threshold", type=float, default=None, help="Posterior to fire at, instead of --fa-per-hour.")
@MODE
@AS_JSON
def listen(
    models: tuple[Path, ...],
    source: str | None,
    device: str | None,
    fa_per_hour: float | None,
    threshold: float | None,
    mode: Mode | None,
    as_json: bool,
) -> None:
    """Print a line each time a phrase of MODELS is spoken."""
    from wakeword.listen import service

    detectors = [wakeword.load(path, fa_per_hour, threshold, mode) for path in models]
    service.run(detectors, source, device, as_json)


@click.command()
@AS_JSON
def devices(as_json: bool) -> None:
    """List the microphones."""
    from wakeword.listen import service

    service.print_devices(as_json)
