"""Published recordings and voices."""

from __future__ import annotations

from pathlib import Path

import click

from wakeword.commands.options import EXISTING


@click.group()
def data() -> None:
    """Published recordings to train on, and voices: list them, fetch them."""


@data.command("list")
def list_data() -> None:
    """Say what can be fetched, how large it is, under which licence, and what is here."""
    from wakeword.clips.data_sets import DATA_SETS, data_folder, is_complete

    for entry in DATA_SETS.values():
        here = str(data_folder(entry)) if is_complete(entry) else f"{entry.gigabytes:g} GB to fetch"
        click.echo(f"{entry.name:<28} {entry.about} ({entry.licence}); {here}")


@data.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--out", type=EXISTING, default=None, help="Folder to keep it in [the cache folder].")
def fetch(names: tuple[str, ...], out: Path | None) -> None:
    """Fetch data sets by NAME, checked and unpacked. What broke off goes on; what is here stays."""
    from wakeword.clips.data_sets import fetch_data_set, find_data_set
    from wakeword.train import download

    for entry in [find_data_set(name) for name in names]:
        click.echo(f"{entry.name}: {fetch_data_set(entry, download.fetch, out)}")
