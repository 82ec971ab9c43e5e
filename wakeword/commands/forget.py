"""Deleting what was kept of people."""

from __future__ import annotations

from pathlib import Path

import click

from wakeword.commands.options import EXISTING


@click.command()
@click.option("--saved", type=EXISTING, multiple=True, help="Folder of `listen --save`; repeatable.")
@click.option("--voices", type=EXISTING, multiple=True, help="Model with enrolled voices; repeatable.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(saved: tuple[Path, ...], voices: tuple[Path, ...], yes: bool) -> None:
    """Delete the sound that a listener saved, and enrolled voices.

    Only files that wakeword wrote: others in the folder stay. What was deleted cannot be brought back.
    """
    from wakeword.listen.save import left_partly, saved_files
    from wakeword.speaker import speakers_path

    if not (saved or voices):
        raise click.UsageError("what is to be forgotten? give --saved FOLDER or --voices MODEL")
    files = [path for folder in saved for path in (*saved_files(folder), *left_partly(folder))]
    files += [path for model in voices if (path := speakers_path(model)).is_file()]
    if not files:
        click.echo("nothing is kept there")
        return
    size = sum(path.stat().st_size for path in files) / 1e6
    click.echo(f"{len(files)} files, {size:.1f} MB, from {min(files)} to {max(files)}", err=True)
    if not yes:
        click.confirm("Delete them for good?", abort=True, err=True)
    for path in files:
        path.unlink(missing_ok=True)
    click.echo(f"deleted {len(files)} files")
