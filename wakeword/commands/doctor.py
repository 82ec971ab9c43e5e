"""Finding out what keeps a listener from working."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wakeword.commands.options import AS_JSON, EXISTING, MODE
from wakeword.errors import WakewordError
from wakeword.manifest import Mode

if TYPE_CHECKING:
    from wakeword.listen.doctor import Finding

MARKS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.argument("models", nargs=-1, type=EXISTING)
@click.option("--device", default=None, help="Microphone: number or part of its name.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 60),
    default=2.0,
    show_default=True,
    help="Sound to judge; 0 = none.",
)
@MODE
@AS_JSON
def doctor(
    models: tuple[Path, ...],
    device: str | None,
    seconds: float,
    mode: Mode | None,
    as_json: bool,
) -> None:
    """Check microphone, models and machine; exit code 1 where something must be mended."""
    from wakeword.listen import doctor as room

    findings = []
    for finding in room.examine(models, device, seconds, mode):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        click.echo(room.as_json(findings))
    if n_failed := sum(finding.status == "fail" for finding in findings):
        raise WakewordError(f"{n_failed} of {len(findings)} checks failed; the lines above say what to do")


def _print(finding: Finding) -> None:
    click.echo(
        f"{click.style(f'{finding.status:4}', fg=MARKS[finding.status])}  {finding.check}: {finding.text}"
    )
    if finding.fix:
        click.echo(f"      -> {finding.fix}")
