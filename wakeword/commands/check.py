"""Are the recordings what they are said to be?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wakeword.commands.options import EXISTING

if TYPE_CHECKING:
    from wakeword.clips.check import Finding


@click.command()
@click.argument("locations", nargs=-1, required=True, type=EXISTING)
@click.option("--phrase", "phrases", multiple=True, help="What background must not hold; repeatable.")
@click.option(
    "--out",
    type=EXISTING,
    default=Path("check"),
    show_default=True,
    help="Folder for check.csv and transcripts.",
)
@click.option("--drop-list", type=EXISTING, default=None, help="CSV to write of what not to learn from.")
@click.option("--split", type=click.Choice(["train", "dev", "test", "all"]), default="all", show_default=True)
@click.option("--weights", type=EXISTING, default=None, help="Another CTranslate2 Whisper folder [tiny.en].")
@click.option("--threads", type=int, default=None, help="Of the processor [half of them].")
def check(
    locations: tuple[Path, ...],
    phrases: tuple[str, ...],
    out: Path,
    drop_list: Path | None,
    split: str,
    weights: Path | None,
    threads: int | None,
) -> None:
    """Listen to recordings with an English speech recogniser: background that holds a phrase, clips without.

    LOCATIONS are folders or manifests. Clips of a phrase lie in a folder named like it, or are labelled. A
    check that was stopped goes on where it was.
    """
    from wakeword.bars import progress_bar
    from wakeword.clips.check import check_recordings, write_findings
    from wakeword.clips.dataset import load_recordings
    from wakeword.clips.drop import write_drop_list
    from wakeword.clips.recogniser import Recogniser

    recogniser = Recogniser(out / "transcripts", weights, threads)
    clips = [c for location in locations for c in load_recordings(location, phrases)]
    clips = [c for c in clips if split in ("all", c.split) and c.kind not in ("noise", "music")]
    wanted = list(dict.fromkeys([*phrases, *(c.label for c in clips if c.label)]))
    with progress_bar("listening", sum(c.seconds for c in clips)) as advance:
        findings = list(check_recordings(recogniser, clips, wanted, advance))
    write_findings(out / "check.csv", findings)
    if drop_list:
        write_drop_list(drop_list, [(f.path, f.start_s, f.end_s) for f in findings])
    for finding in findings:
        click.echo(_line(finding))
    hours = sum(c.seconds for c in clips) / 3600
    click.echo(f"{len(findings)} findings in {len(clips)} recordings ({hours:.2f} h): {out / 'check.csv'}")


def _line(finding: Finding) -> str:
    where = "" if finding.start_s is None else f" {int(finding.start_s // 60)}:{finding.start_s % 60:04.1f}"
    what = f"{finding.kind} {finding.phrase!r}" if finding.phrase else finding.kind
    how = f"{finding.match}, {finding.distance:.2f}".lstrip(", ")
    return f"{finding.path}{where}: {what} ({how}): {finding.text}"
