"""Recordings made by machine."""

from __future__ import annotations

from pathlib import Path

import click

from wakeword.commands.options import EXISTING


def _list_engines(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the table and end, before the phrase is asked for."""
    if not wanted or context.resilient_parsing:
        return
    from wakeword.clips.engines import ENGINES

    for spec in ENGINES.values():
        language = str(context.params.get("language", "en"))
        voices = len(spec.voices(language)) if spec.installed else 0
        state = f"{voices} voices for {language!r}" if spec.installed else f"missing: {spec.install}"
        click.echo(f"{spec.name:<10} {spec.about} ({spec.licence}); {state}")
    context.exit()


@click.command()
@click.argument("phrase")
@click.option("--out", type=EXISTING, required=True, help="Folder for the clips and their index.csv.")
@click.option("--n", "n", type=click.IntRange(1), default=300, show_default=True, help="How many clips.")
@click.option("--engine", "engines", multiple=True, help="Speech engine; repeatable [all installed].")
@click.option("--language", default="en", show_default=True, is_eager=True, help="Of the phrase.")
@click.option(
    "--carriers", type=click.FloatRange(0, 1), default=0.0, help="Share with other words around it [0]."
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--list-engines",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_list_engines,
    help="Show them and stop.",
)
def synth(
    phrase: str, out: Path, n: int, engines: tuple[str, ...], language: str, carriers: float, seed: int
) -> None:
    """Speak PHRASE in many voices. Clips that are there are kept: a run that was stopped goes on."""
    from wakeword.bars import progress_bar
    from wakeword.clips.advice import require_speakable
    from wakeword.clips.spoken import INDEX
    from wakeword.clips.synth import synthesise

    require_speakable(phrase)
    with progress_bar("speaking", n) as advance:
        paths = synthesise(
            phrase,
            out,
            n,
            seed,
            lambda done, total: advance(1),
            language=language,
            engines=engines,
            carriers=carriers,
        )
    voices = len({path.parent for path in paths})
    click.echo(f"{len(paths)} clips in {voices} voices: {out / INDEX}")
