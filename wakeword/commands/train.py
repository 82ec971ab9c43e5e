"""Making a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wakeword.commands.options import EXISTING


@click.command()
@click.argument("phrases", nargs=-1, required=True)
@click.option(
    "--clips", type=EXISTING, required=True, help="Folder with a folder per phrase, or a manifest CSV."
)
@click.option(
    "--background", type=EXISTING, multiple=True, help="Folder or manifest without the phrases; repeatable."
)
@click.option("--out", type=EXISTING, required=True, help="The .wakeword file to write.")
@click.option("--encoder", default=None, help="Pretrained encoder [tiny.en].")
@click.option("--tune", default=None, help="auto, head, top-K or all [auto].")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--seed", type=int, default=None, help="Same seed, same result [1].")
@click.option("--config", type=EXISTING, default=None, help="TOML with every other setting.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
def train(
    phrases: tuple[str, ...],
    clips: Path,
    background: tuple[Path, ...],
    out: Path,
    config: Path | None,
    device: str,
    resume: bool,
    **overrides: Any,
) -> None:
    """Make a detector for PHRASES from clips of them and background without them."""
    from wakeword.recipe import Request, make_detector, read_settings

    settings = read_settings(config, overrides)
    request = Request(phrases, clips, background, out, settings, device, resume)
    make_detector(request)
