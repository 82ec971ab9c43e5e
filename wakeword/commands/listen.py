"""Listening."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wakeword.commands.options import AS_JSON, EXISTING, MODE
from wakeword.config import load_config
from wakeword.errors import UsageError
from wakeword.manifest import Mode

if TYPE_CHECKING:
    from wakeword.listen.settings import ListenSettings, SpeakersChoice

WITH_CONFIG = {"config", "source", "ui"}
"""Options that go with --config; the others' settings stand in the file."""


def _print_config(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from wakeword.listen.settings_text import config_text

        click.echo(config_text(), nl=False)
        context.exit()


@click.command()
@click.argument("models", nargs=-1, type=EXISTING)
@click.option(
    "--config", type=EXISTING, default=None, help="Settings (see --print-config), instead of MODELS."
)
@click.option("--file", "source", default=None, help="Listen to a file, or - for PCM or WAV on stdin.")
@click.option("--device", default=None, help="Microphone: number or part of its name.")
@click.option("--fa-per-hour", type=float, default=None, help="False accepts per hour to run at.")
@click.option("--threshold", type=float, default=None, help="Posterior to fire at, instead of --fa-per-hour.")
@MODE
@AS_JSON
@click.option(
    "--speakers",
    type=click.Choice(["report", "accept"]),
    default=None,
    help="Say which enrolled voice spoke, or accept no other; see `wakeword enroll`.",
)
@click.option("--wyoming", metavar="URI", default=None, help="Serve Wyoming, at tcp://127.0.0.1:10400 say.")
@click.option("--no-microphone", is_flag=True, help="Listen to network streams only.")
@click.option("--web", is_flag=True, help="Serve the live page and /metrics, at http://127.0.0.1:10480.")
@click.option("--ui", is_flag=True, help="Show levels and scores live in the terminal.")
@click.option(
    "--print-config",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_config,
    help="Print all settings with their defaults, and end.",
)
@click.pass_context
def listen(
    context: click.Context, /, config: Path | None, source: str | None, ui: bool, **flags: Any
) -> None:
    """Print a line each time a phrase of MODELS is spoken.

    With --config, do what the file says; it and its models are read anew when they change, and on SIGHUP.
    """
    from wakeword.listen import logs, service
    from wakeword.listen.listener import Listener
    from wakeword.listen.settings import ListenSettings

    if config is None:
        settings = _settings(context, ui, **flags)
    else:
        if extra := [p for p in context.command.params if p.name not in WITH_CONFIG and _given(context, p)]:
            raise UsageError(f"--config excludes {extra[0].get_error_hint(context)}; set it in {config}")
        settings = load_config(config, ListenSettings)
        logs.set_up(settings.log)
    service.run(Listener(settings, config, ui), source)


def _given(context: click.Context, parameter: click.Parameter) -> bool:
    return bool(context.params.get(parameter.name or ""))


def _settings(
    context: click.Context,
    ui: bool,
    models: tuple[Path, ...],
    device: str | None,
    fa_per_hour: float | None,
    threshold: float | None,
    mode: Mode | None,
    as_json: bool,
    speakers: SpeakersChoice | None,
    wyoming: str | None,
    no_microphone: bool,
    web: bool,
) -> ListenSettings:
    from wakeword.listen import settings as s

    if not models:
        raise click.UsageError("Missing argument 'MODELS...'", context)
    point = {"fa_per_hour": fa_per_hour, "threshold": threshold}
    if bad := [name for name, value in point.items() if value == 0]:
        raise UsageError(f"--{bad[0].replace('_', '-')} 0 would never fire; give a greater one")
    chosen: dict[str, Any] = {name: value for name, value in point.items() if value is not None}
    return s.ListenSettings(
        models=tuple(
            s.ModelSettings(path=str(path), mode=mode or "auto", speakers=speakers or "off", **chosen)
            for path in models
        ),
        microphone=s.MicrophoneSettings(enabled=not no_microphone, device=device or "", wait=False),
        output=s.OutputSettings(format="none" if ui else "json" if as_json else "lines"),
        wyoming=s.WyomingSettings(uri=wyoming or ""),
        web=s.WebSettings(enabled=web),
    )


@click.command()
@AS_JSON
def devices(as_json: bool) -> None:
    """List the microphones."""
    from wakeword.listen import service

    service.print_devices(as_json)
