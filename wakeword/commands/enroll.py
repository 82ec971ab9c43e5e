"""Enrolling voices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import wakeword
from wakeword.commands.options import BUNDLE, EXISTING

if TYPE_CHECKING:
    from wakeword.audio import Samples


@click.command()
@BUNDLE
@click.argument("name", required=False)
@click.option("--clips", type=EXISTING, default=None, help="Folder with clips of the phrase in this voice.")
@click.option("--record", "n", type=click.IntRange(3), default=None, help="Record that many takes instead.")
@click.option(
    "--background", type=EXISTING, default=None, help="Folder with other people's utterances, 20 or more."
)
@click.option("--device", default=None, help="Microphone: number or part of its name.")
@click.option("--delete", is_flag=True, help="Delete the voice of NAME.")
@click.option("--list", "listing", is_flag=True, help="Say who is enrolled.")
@click.option("--yes", is_flag=True, help="The person has agreed; do not ask.")
def enroll(
    model: Path,
    name: str | None,
    clips: Path | None,
    n: int | None,
    background: Path | None,
    device: str | None,
    delete: bool,
    listing: bool,
    yes: bool,
) -> None:
    """Teach MODEL the voice of NAME, so that a listener can tell who spoke.

    No sound is kept, only a voice print beside MODEL; it asks for consent first.
    """
    from wakeword import enrolment
    from wakeword.speaker import SpeakerEncoder, load_speakers, speakers_path

    phrases = wakeword.load(model).manifest.phrases
    path = speakers_path(model)
    if listing:
        click.echo("\n".join(load_speakers(path).names))
        return
    if not name:
        raise click.UsageError("whose voice? give a NAME")
    if delete:
        enrolment.forget(path, name)
        click.echo(f"{name} is deleted from {path}")
        return
    if (clips is None) == (n is None):
        raise click.UsageError("give either --clips FOLDER or --record N")
    encoder = SpeakerEncoder()
    click.echo(enrolment.CONSENT.format(name=name, path=path, model=model), err=True)
    if not yes:
        click.confirm("Does the person agree?", abort=True, err=True)
    takes = _from_folder(clips) if clips else _recorded(phrases[0], n or 0, device)
    others = _from_folder(background) if background else []
    done = enrolment.enroll(path, name, takes, encoder, others)
    click.echo(
        f"{done.name}: {done.n_clips} clips, alike by {done.own:.2f} (others {done.others:.2f}); recognised "
        f"from {done.threshold:.2f} on, about {100 * done.expected_error:.0f} % mistaken; in {path}"
    )


def _from_folder(folder: Path) -> list[Samples]:
    from wakeword.clips.record import import_takes

    takes = []
    for path, take in import_takes(folder):
        if isinstance(take, str) or take.end <= take.start:
            click.echo(
                f"{path}: left out: {take if isinstance(take, str) else 'nothing was heard'}", err=True
            )
        else:
            takes.append(take.trimmed)
    return takes


def _recorded(phrase: str, n: int, device: str | None) -> list[Samples]:
    from wakeword.commands.record import record_takes

    return [take.trimmed for take in record_takes(phrase, n, device, ask=False)]
