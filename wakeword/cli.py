"""The `wakeword` command: parses, calls one function, prints. What each command does stands elsewhere."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

import wakeword
from wakeword.errors import WakewordError
from wakeword.manifest import Mode

OWN_PACKAGES = ("wakeword", "export", "firmware_bridge")
EXISTING = click.Path(path_type=Path)
BUNDLE = click.argument("model", type=EXISTING)
MODE = click.option(
    "--mode",
    type=click.Choice(get_args(Mode)),
    default=None,
    help="Who listens [cascade, where there is a student].",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(wakeword.__version__, prog_name="wakeword")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def commands(verbose: bool) -> None:
    """Wake words from a pretrained speech-recognition encoder: train, judge, listen."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0 when fine, 1 for a failure explained on stderr, 2 for wrong usage."""
    try:
        commands.main(None if argv is None else list(argv), prog_name="wakeword", standalone_mode=False)
    except WakewordError as err:
        click.echo(f"wakeword: {err}", err=True)
        return err.exit_code
    except click.exceptions.NoArgsIsHelpError as err:
        err.show()
        return err.exit_code
    except click.ClickException as err:
        click.echo(f"wakeword: {_one_line(err)}", err=True)
        return err.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("wakeword: interrupted; a training run goes on with --resume", err=True)
        return 1
    except OSError as err:
        click.echo(f"wakeword: {err.filename or 'input/output'}: {err.strerror or err}", err=True)
        return 1
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] in OWN_PACKAGES:
            raise
        click.echo(f"wakeword: this needs {err.name}; run: pip install 'wakeword[train]'", err=True)
        return 1
    return 0


def _one_line(err: click.ClickException) -> str:
    context = err.ctx if isinstance(err, click.UsageError) else None
    hint = f"; see {context.command_path} --help" if context else ""
    return " ".join(err.format_message().split()).rstrip(".") + hint


@commands.command()
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


@commands.command()
@click.argument("models", nargs=-1, required=True, type=EXISTING)
@click.option("--file", "source", default=None, help="Listen to a file, or - for PCM or WAV on stdin.")
@click.option("--device", default=None, help="Microphone: number or part of its name.")
@click.option("--fa-per-hour", type=float, default=None, help="False accepts per hour to run at.")
@click.option("--threshold", type=float, default=None, help="Posterior to fire at, instead of --fa-per-hour.")
@MODE
@AS_JSON
def listen(
    models: tuple[Path, ...],
    source: str | None,
    device: str | None,
    fa_per_hour: float | None,
    threshold: float | None,
    mode: Mode | None,
    as_json: bool,
) -> None:
    """Print a line each time a phrase of MODELS is spoken."""
    from wakeword.listen import service

    detectors = [wakeword.load(path, fa_per_hour, threshold, mode) for path in models]
    service.run(detectors, source, device, as_json)


@commands.command()
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
@MODE
def evaluate(
    model: Path,
    phrases: Path,
    background: tuple[Path, ...],
    out: Path,
    snr: tuple[str, ...],
    split: str,
    max_clips: int | None,
    seed: int,
    mode: Mode | None,
) -> None:
    """Judge MODEL on streams: misses, false accepts per hour, latency; writes report.html and report.json."""
    from wakeword.recipe import judge

    click.echo(judge(model, phrases, background, out, snr, split, max_clips, seed, mode))


@commands.command()
@BUNDLE
@AS_JSON
def info(model: Path, as_json: bool) -> None:
    """Say what MODEL listens for, where its thresholds are and what it was made of."""
    from wakeword.describe import describe, manifest_dict

    manifest = wakeword.load(model).manifest
    click.echo(json.dumps(manifest_dict(manifest), indent=1) if as_json else describe(manifest, model))


@commands.command()
@AS_JSON
def devices(as_json: bool) -> None:
    """List the microphones."""
    from wakeword.listen import service

    service.print_devices(as_json)


if __name__ == "__main__":
    sys.exit(main())
