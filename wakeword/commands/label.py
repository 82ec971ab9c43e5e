"""Asking what saved clips are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wakeword.clips.saved import Label, SavedEvent

KEYS: dict[str, Label] = {"y": "yes", "n": "no", "u": "unclear"}


def label_saved(saved: Path, out: Path) -> None:
    """Ask about each saved clip that has no label yet (at a terminal), and sort out those that have one.

    OUT/labels.csv holds the answers, kept after each; it may as well be filled in with a spreadsheet.
    """
    from wakeword.clips.saved import load_saved, read_labels, sort_out, write_labels

    events = load_saved(saved)
    labels = read_labels(out / "labels.csv")
    write_labels(out / "labels.csv", events, labels)
    if sys.stdin.isatty():
        for event in [e for e in events if e.path.name not in labels]:
            answer = _ask(event)
            if answer is None:
                break
            labels[event.path.name] = answer
            write_labels(out / "labels.csv", events, labels)
    index = sort_out(out, events, labels)
    counts = {label: sum(labels.get(e.path.name) == label for e in events) for label in KEYS.values()}
    left = len(events) - sum(counts.values())
    click.echo(f"said: {counts['yes']}, not said: {counts['no']}, unclear: {counts['unclear']}: {index}")
    if left:
        click.echo(f"{left} without a label; fill them in in {out / 'labels.csv'} and run this again")


def _ask(event: SavedEvent) -> Label | None:
    """What a person says of it; None to stop."""
    click.echo(f"{event.path}: {event.phrase!r}, score {event.score:.3f}, {event.at} {event.stream}")
    while True:
        key = click.prompt("was it said? [y]es [n]o [u]nclear [p]lay [q]uit", default="p", show_default=False)
        if key[:1] == "q":
            return None
        if key[:1] in KEYS:
            return KEYS[key[:1]]
        if key[:1] == "p":
            _play(event.path)


def _play(path: Path) -> None:
    from wakeword.audio import SAMPLE_RATE, read_audio

    try:
        import sounddevice

        sounddevice.play(read_audio(path), SAMPLE_RATE, blocking=True)
    except Exception as err:  # no PortAudio, no loudspeaker: PortAudioError, OSError
        click.echo(f"cannot play it here ({err}); open {path} in a player", err=True)
