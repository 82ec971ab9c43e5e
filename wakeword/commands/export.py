"""Taking a detector elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from wakeword.commands.options import BUNDLE, EXISTING, MODE
from wakeword.manifest import Mode


@click.command()
@BUNDLE
@click.option("--target", required=True, help="onnx, ort, web or openwakeword.")
@click.option("--out", type=EXISTING, required=True, help="Folder to make.")
@click.option("--checkpoint", type=EXISTING, default=None, help="Folder of the torch weights [beside MODEL].")
@click.option("--precision", multiple=True, help="fp32, fp16, int8, int8-static; repeatable [all possible].")
@click.option("--phrases", type=EXISTING, default=None, help="Clips to calibrate int8-static on.")
@click.option("--background", type=EXISTING, multiple=True, help="Background for the same; repeatable.")
@click.option("--npm", type=EXISTING, default=None, help="A node_modules folder, instead of npm's server.")
def export(
    model: Path,
    target: str,
    out: Path,
    checkpoint: Path | None,
    precision: tuple[str, ...],
    phrases: Path | None,
    background: tuple[Path, ...],
    npm: Path | None,
) -> None:
    """Write MODEL as files for another host, with a model card and all that the host must know."""
    from export.options import Options
    from export.targets import export_model

    options = Options(precision, phrases, background, npm)
    for path in export_model(model, target, out, checkpoint, options):
        click.echo(f"{path.stat().st_size / 1e6:9.2f} MB  {path}")


@click.command()
@click.argument("folder", type=EXISTING)
@click.option("--model", type=EXISTING, default=None, help="The bundle it was made from, to compare with.")
@click.option(
    "--checkpoint", type=EXISTING, default=None, help="Folder of the torch weights [beside --model]."
)
@click.option("--phrases", type=EXISTING, default=None, help="Clips for test streams, as for evaluate.")
@click.option("--background", type=EXISTING, multiple=True, help="Background for the same; repeatable.")
@click.option("--split", type=click.Choice(["dev", "test"]), default="test", show_default=True)
@click.option("--snr", default="10", show_default=True, help="Noise in dB, or clean.")
@click.option("--max-clips", type=int, default=20, show_default=True, help="Clips per phrase.")
@click.option("--minutes", type=float, default=30, show_default=True, help="Background alone, at most.")
@MODE
@click.option("--npm", type=EXISTING, default=None, help="A node_modules folder with onnxruntime-node.")
def verify(
    folder: Path,
    model: Path | None,
    checkpoint: Path | None,
    phrases: Path | None,
    background: tuple[Path, ...],
    split: str,
    snr: str,
    max_clips: int,
    minutes: float,
    mode: Mode | None,
    npm: Path | None,
) -> None:
    """Run everything in an exported FOLDER over the same audio: it must say the same. Exit code 1 if not."""
    from export.description import manifest_of, read_description
    from export.streams import build_test_streams
    from export.verify import verify_folder
    from export.verify_table import check_rows, table
    from wakeword.evaluate.recordings import snr_of

    streams = None
    if phrases is not None:
        known = manifest_of(read_description(folder)).phrases
        streams = build_test_streams(
            known, phrases, background, split, snr_of(snr), max_clips, minutes, seed=1
        )
    rows = verify_folder(
        folder, model, checkpoint, streams, mode, npm, say=lambda line: click.echo(line, err=True)
    )
    click.echo(table(rows))
    check_rows(rows, folder)
