"""What a detector finds hard: in hours of audio, and in what a listener has saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from wakeword.commands.options import CLUSTER, EXISTING, MODE
from wakeword.errors import UsageError
from wakeword.machine import processors
from wakeword.manifest import Mode


@click.command()
@click.argument("model", type=EXISTING, required=False)
@click.option("--background", type=EXISTING, multiple=True, help="Folder or manifest; repeatable.")
@click.option("--out", type=EXISTING, required=True, help="Folder for the clips and their list.")
@click.option("--clips", "n", type=int, default=200, show_default=True, help="Kept per phrase.")
@click.option("--split", type=click.Choice(["train", "dev", "all"]), default="train", show_default=True)
@click.option("--workers", type=int, default=None, help="Processes [one per processor].")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--saved", type=EXISTING, default=None, help="Label what `listen --save` kept, instead.")
@MODE
@CLUSTER
def mine(
    model: Path | None,
    background: tuple[Path, ...],
    out: Path,
    n: int,
    split: str,
    workers: int | None,
    resume: bool,
    saved: Path | None,
    mode: Mode | None,
    cluster: str | None,
) -> None:
    """Find what MODEL takes for a phrase, or nearly, in hours of audio without one.

    Writes OUT/clips/*.wav to listen to and OUT/index.csv, which `train --background` takes. Listen first:
    what really is the phrase teaches the opposite.
    """
    if saved is not None:
        from wakeword.commands.label import label_saved

        label_saved(saved, out)
        return
    if model is None or not background:
        raise UsageError("give MODEL and --background, or --saved")
    if cluster:  # its workers run in another folder
        model, background = model.absolute(), tuple(path.absolute() for path in background)
    _mine(model, background, out, n, split, workers, resume, mode, cluster)


def _mine(
    model: Path,
    background: tuple[Path, ...],
    out: Path,
    n: int,
    split: str,
    workers: int | None,
    resume: bool,
    mode: Mode | None,
    cluster: str | None,
) -> None:
    import hashlib

    from wakeword.bars import progress_bar
    from wakeword.clips.dataset import load_background
    from wakeword.cluster import open_cluster
    from wakeword.errors import DataError
    from wakeword.evaluate.hard_clips import choose_hardest, write_hard_clips
    from wakeword.evaluate.mining import ears_of, hear

    clips = [c for c in load_background(background) if split in ("all", c.split)]
    if not clips:
        raise DataError(f"no recordings for {split} in the background; --split all takes everything")
    manifest, ears = ears_of(model, mode)
    notes = out / "heard"
    if notes.is_dir() and not resume:
        shutil.rmtree(notes)
    key = hashlib.sha256(model.read_bytes()).hexdigest() + "".join(ear.mode for ear in ears)
    seconds = sum(c.seconds for c in clips)
    with open_cluster(cluster) as spread, progress_bar("listening", seconds) as advance:
        moments = hear(manifest, ears, clips, notes, key, workers or processors(), advance, spread)
    chosen = choose_hardest(moments, n)
    index = write_hard_clips(out, chosen, {clip.path: clip for clip in clips})
    for phrase in manifest.phrases:
        of = [one.moment for one in chosen if one.moment.phrase == phrase]
        accepted = sum(m.hardness >= 1 and m.scorer == ears[0].mode for m in of)
        click.echo(f"{phrase}: {len(of)} hard moments, {accepted} of them false accepts ({ears[0].mode})")
    click.echo(f"{len(chosen)} clips from {seconds / 3600:.1f} h: {index}")
