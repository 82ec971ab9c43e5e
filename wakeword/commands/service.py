"""The listener as a service of this user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wakeword.commands.options import EXISTING
from wakeword.errors import UsageError, WakewordError
from wakeword.files import written_whole

if TYPE_CHECKING:
    from wakeword.listen.unit import Service

NAME = click.option("--name", default="wakeword", show_default=True, help="To tell several apart.")


@click.group()
def service() -> None:
    """Run the listener at login: a systemd user unit, or a launchd agent on macOS."""


@service.command()
@click.option("--config", type=EXISTING, required=True, help="Its listen.toml.")
@click.option("--print", "only_print", is_flag=True, help="Print what would be written, and do nothing.")
@NAME
def install(config: Path, name: str, only_print: bool) -> None:
    """Write the service, start it now and at every login."""
    from wakeword.listen import unit

    wanted = _service(config.absolute(), name)
    text = unit.systemd_unit(wanted).encode()
    if _is_mac():
        text = unit.launchd_plist(wanted, _mac_log(name))
    if only_print:
        click.echo(text, nl=False)
        return
    path = _path(name)
    _write(path, text)
    click.echo(f"wrote {path}")
    if _is_mac():
        _call("launchctl", "bootstrap", f"gui/{os.getuid()}", str(path))
        return
    _call("systemctl", "--user", "daemon-reload")
    _call("systemctl", "--user", "enable", "--now", f"{name}.service")
    click.echo("started; so that it also runs while you are not logged in: loginctl enable-linger")


@service.command()
@NAME
def uninstall(name: str) -> None:
    """Stop the service and remove it; models, settings and saved sound stay."""
    path = _path(name)
    if not path.exists():
        raise WakewordError(f"no service {name!r} is installed ({path} does not exist)")
    if _is_mac():
        from wakeword.listen.unit import launchd_label

        _call("launchctl", "bootout", f"gui/{os.getuid()}/{launchd_label(name)}")
        path.unlink()
    else:
        _call("systemctl", "--user", "disable", "--now", f"{name}.service")
        path.unlink()
        _call("systemctl", "--user", "daemon-reload")
    click.echo(f"removed {path}")


@service.command()
@NAME
def status(name: str) -> None:
    """Say whether the service runs."""
    if _is_mac():
        from wakeword.listen.unit import launchd_label

        _show("launchctl", "print", f"gui/{os.getuid()}/{launchd_label(name)}")
    else:
        _show("systemctl", "--user", "--no-pager", "status", f"{name}.service")


@service.command()
@click.option("-f", "--follow", is_flag=True, help="Go on printing.")
@NAME
def logs(name: str, follow: bool) -> None:
    """Print what the service said."""
    more = ("-f",) if follow else ()
    if _is_mac():
        _show("tail", "-n", "200", *more, str(_mac_log(name)))
    else:
        _show("journalctl", "--user", "--no-pager", "-n", "200", *more, "-u", f"{name}.service")


def _service(config: Path, name: str) -> Service:
    """What to install: checks the settings first, so that a service that cannot start is not written."""
    from wakeword.config import load_config
    from wakeword.listen.settings import ListenSettings
    from wakeword.listen.unit import Service, folders_written

    settings = load_config(config, ListenSettings)
    if not settings.models:
        raise UsageError(f"{config} names no model; add a [[models]] table with its path")
    for model in settings.models:
        if not (path := config.parent / Path(model.path).expanduser()).is_file():
            raise WakewordError(f"{config} names a model that does not exist: {path}")
    return Service(name, config, folders_written(config.parent, [settings.save.folder]))


def _path(name: str) -> Path:
    from wakeword.listen import unit

    if sys.platform == "win32":
        raise WakewordError("no services on Windows yet: docs/home_automation.md says how")
    if _is_mac():
        return unit.launchd_path(name, Path.home())
    return unit.systemd_path(name, Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"))


def _mac_log(name: str) -> Path:
    return Path.home() / "Library" / "Logs" / f"{name}.log"


def _is_mac() -> bool:
    return sys.platform == "darwin"


def _write(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_bytes(text)


def _show(program: str, *args: str) -> None:
    """Let a program print; WakewordError where it is missing."""
    _run(program, *args, captured=False)


def _call(program: str, *args: str) -> None:
    """Run a program that must succeed; WakewordError with what it said."""
    done = _run(program, *args, captured=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise WakewordError(f"{program} {' '.join(args)} failed: {said or f'exit code {done.returncode}'}")


def _run(program: str, *args: str, captured: bool) -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        raise WakewordError(f"no {program} here; run wakeword listen from whatever starts your services")
    return subprocess.run([program, *args], check=False, capture_output=captured, text=True)
