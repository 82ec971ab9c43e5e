"""Recording a phrase."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wakeword.commands.options import EXISTING

if TYPE_CHECKING:
    from wakeword.audio import Samples
    from wakeword.clips.record import Take, TakeFolder

METER_WIDTH = 30
METER_RANGE_DB = 60.0
MAX_FAILED = 5
"""Takes in a row that came to nothing, before it gives up."""


@click.command()
@click.argument("phrase")
@click.option("--out", type=EXISTING, required=True, help="Folder for the clips, as train --clips takes it.")
@click.option("--n", "n", type=click.IntRange(1), default=10, show_default=True, help="Takes to record.")
@click.option("--speaker", default="", help="Who speaks, to tell several speakers apart.")
@click.option("--device", default=None, help="Microphone: number or part of its name.")
@click.option(
    "--import", "source", type=EXISTING, default=None, help="Take recordings from a folder instead."
)
@click.option("--yes", is_flag=True, help="Keep each good take without playing it and asking.")
def record(
    phrase: str, out: Path, n: int, speaker: str, device: str | None, source: Path | None, yes: bool
) -> None:
    """Record PHRASE some times: counts down, shows the level, checks, trims and keeps each take.

    Trimmed takes go to OUT/<phrase>, whole ones to OUT/raw/<phrase>; what is there stays.
    """
    from wakeword.clips.advice import require_speakable
    from wakeword.clips.record import TakeFolder

    require_speakable(phrase)
    folder = TakeFolder(out, phrase, speaker)
    kept = _import(source, folder) if source else _record(phrase, folder, n, device, yes)
    click.echo(f"{kept} takes of {phrase!r} in {folder.trimmed}; whole recordings in {folder.raw}")


def _import(source: Path, folder: TakeFolder) -> int:
    from wakeword.clips.record import import_takes

    kept = 0
    for path, take in import_takes(source):
        reason = take if isinstance(take, str) else "; ".join(take.problems)
        if reason or isinstance(take, str):
            click.echo(f"{path}: left out: {reason}", err=True)
            continue
        folder.keep(take)
        kept += 1
    return kept


def _record(phrase: str, folder: TakeFolder, n: int, device: str | None, yes: bool) -> int:
    """Record until n takes are kept; each is kept at once."""
    kept = 0
    for take in record_takes(phrase, n, device, ask=not yes):
        kept += 1
        click.echo(f"  kept: {folder.keep(take)}", err=True)
    return kept


def record_takes(phrase: str, n: int, device: str | None, ask: bool) -> Iterator[Take]:
    """Yield n good takes from a microphone, saying what to do; DeviceError after five bad ones in a row."""
    from wakeword.clips.record import record_take
    from wakeword.errors import DeviceError
    from wakeword.listen.microphone import Microphone

    kept = failed = 0
    with closing(Microphone(device)) as microphone:
        click.echo(
            f"microphone: {microphone.name}. Say {phrase!r} after the count-down; Ctrl-C ends.", err=True
        )
        blocks = _sound_only(iter(microphone))
        while kept < n:
            click.echo(f"\ntake {kept + 1} of {n}", err=True)
            take = record_take(blocks, _Meter().show)
            click.echo(err=True)
            for problem in take.problems:
                click.echo(f"  {problem}", err=True)
            failed = failed + 1 if take.problems else 0
            if failed == MAX_FAILED:
                raise DeviceError(
                    f"{failed} takes in a row came to nothing ({kept} kept); see wakeword doctor"
                )
            if not take.problems and (not ask or _wanted(take, blocks)):
                kept += 1
                yield take


def _sound_only(blocks: Iterator[Any]) -> Iterator[Samples]:
    """The blocks without the gaps between them."""
    from wakeword.listen.sources import Gap

    return (block for block in blocks if not isinstance(block, Gap) and len(block))


class _Meter:
    """Shows the count-down and the level over each other on one line; to a file only when to speak."""

    def __init__(self) -> None:
        self._phase = ""

    def show(self, phase: str, level_dbfs: float, seconds_left: float) -> None:
        changed, self._phase = phase != self._phase, phase
        if sys.stderr.isatty():
            filled = round(max(0.0, 1 + level_dbfs / METER_RANGE_DB) * METER_WIDTH)
            word = f"ready in {seconds_left:.1f}" if phase == "ready" else "SPEAK NOW"
            bar = "#" * min(filled, METER_WIDTH)
            click.echo(f"\r  {word:<14} [{bar:<{METER_WIDTH}}] {level_dbfs:6.0f} dBFS ", nl=False, err=True)
        elif changed and phase == "speak":
            click.echo("  speak now", err=True)


def _wanted(take: Take, blocks: Iterator[Samples]) -> bool:
    """Play the take back and ask; where nobody can answer, it is wanted."""
    from wakeword.audio import SAMPLE_RATE

    if not sys.stdin.isatty():
        return True
    import sounddevice

    try:
        sounddevice.play(take.trimmed, SAMPLE_RATE)
        sounddevice.wait()
    except sounddevice.PortAudioError as err:
        click.echo(f"  (cannot play it: {err})", err=True)
    return click.confirm("  keep it?", default=True, err=True)
