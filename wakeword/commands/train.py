"""Making a detector."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

import click

from wakeword.commands.options import CLUSTER, EXISTING


@click.command()
@click.argument("phrases", nargs=-1, required=True)
@click.option(
    "--clips",
    type=EXISTING,
    default=None,
    help="Recordings: a folder with a folder per phrase, or a manifest CSV [none: a machine speaks them].",
)
@click.option(
    "--background",
    type=EXISTING,
    multiple=True,
    help="Folder or manifest without the phrases; repeatable [made by machine].",
)
@click.option("--out", type=EXISTING, default=None, help="The .wakeword file to write [the phrase's name].")
@click.option("--language", default=None, help="Of the phrases, such as de [en].")
@click.option("--encoder", default=None, help="Pretrained encoder [tiny.en].")
@click.option("--tune", default=None, help="auto, head, top-K or all [auto].")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--seed", type=int, default=None, help="Same seed, same result [1].")
@click.option("--config", type=EXISTING, default=None, help="TOML with every other setting.")
@click.option("--drop-list", type=EXISTING, default=None, help="CSV of what to leave out, see check.")
@click.option("--force", is_flag=True, help="Train on a phrase that is advised against.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--open/--no-open", "shown", default=None, help="Show the report [where there is a screen].")
@CLUSTER
def train(
    phrases: tuple[str, ...],
    clips: Path | None,
    background: tuple[Path, ...],
    out: Path | None,
    config: Path | None,
    device: str,
    resume: bool,
    force: bool,
    drop_list: Path | None,
    shown: bool | None,
    cluster: str | None,
    **overrides: Any,
) -> None:
    """Make a detector for PHRASES from recordings of them, or from their text alone."""
    from wakeword.clips.drop import NOTHING, read_drop_list
    from wakeword.recipe import Request, make_detector, read_settings, report_of, target_of

    settings = read_settings(config, overrides)
    drop = read_drop_list(drop_list) if drop_list else NOTHING
    target = out or target_of(phrases)
    if cluster:  # its workers run in another folder
        clips, target = clips and clips.absolute(), target.absolute()
        background = tuple(path.absolute() for path in background)
    request = Request(phrases, clips, background, target, settings, device, resume, force, drop, cluster)
    if make_detector(request):
        report = report_of(target) / "report.html"
        click.echo(f"report: {report}")
        if _has_screen() if shown is None else shown:
            webbrowser.open(report.resolve().as_uri())


def _has_screen() -> bool:
    """Whether somebody sits at a terminal of a desktop."""
    desktop = sys.platform != "linux" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return desktop and sys.stdout.isatty()
