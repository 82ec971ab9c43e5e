"""What a detector is, and how good."""

from __future__ import annotations

import json
from pathlib import Path

import click

import wakeword
from wakeword.commands.options import AS_JSON, BUNDLE, CLUSTER, EXISTING, MODE
from wakeword.manifest import Mode


@click.command()
@BUNDLE
@click.option(
    "--phrases", type=EXISTING, required=True, help="Folder with a folder per phrase, or a manifest CSV."
)
@click.option(
    "--background", type=EXISTING, multiple=True, required=True, help="Folder or manifest; repeatable."
)
@click.option(
    "--out", type=EXISTING, default=Path("report"), show_default=True, help="Folder for the report."
)
@click.option(
    "--snr", multiple=True, default=("clean", "10"), show_default=True, help="Noise in dB; repeatable."
)
@click.option("--split", type=click.Choice(["dev", "test", "all"]), default="test", show_default=True)
@click.option("--max-clips", type=int, default=None, help="Clips per phrase, all if not given.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--confusables",
    type=EXISTING,
    default=None,
    help="Folder of near phrases that are to be refused; made by machine if it is not there.",
)
@MODE
@CLUSTER
def evaluate(
    model: Path,
    phrases: Path,
    background: tuple[Path, ...],
    out: Path,
    snr: tuple[str, ...],
    split: str,
    max_clips: int | None,
    seed: int,
    confusables: Path | None,
    mode: Mode | None,
    cluster: str | None,
) -> None:
    """Judge MODEL on streams: misses, false accepts per hour, latency; writes report.html and report.json."""
    from wakeword.evaluate.recordings import Examination, examine
    from wakeword.evaluate.summary import summary

    what = Examination(
        model=model,
        phrases=phrases,
        background=background,
        out=out,
        snrs=snr,
        split=split,
        max_clips=max_clips,
        seed=seed,
        mode=mode,
        confusables=confusables,
        cluster=cluster,
    )
    result, rejected = examine(what)
    for fault in rejected:
        click.secho(f"left out: {fault}", fg="yellow", err=True)
    click.echo(f"{summary(result)}\nreport: {out / 'report.html'}")


@click.command()
@BUNDLE
@AS_JSON
def info(model: Path, as_json: bool) -> None:
    """Say what MODEL listens for, where its thresholds are and what it was made of."""
    from wakeword.describe import describe, manifest_dict

    manifest = wakeword.load(model).manifest
    click.echo(json.dumps(manifest_dict(manifest), indent=1) if as_json else describe(manifest, model))
