"""Commands about a built C library and the device it runs on: prove, flash, listen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wakeword.commands.options import AS_JSON, EXISTING
from wakeword.errors import UsageError, WakewordError

if TYPE_CHECKING:
    from firmware_bridge.bridge import DeviceLink
    from firmware_bridge.frames import Message
    from wakeword.listen.settings import ListenSettings


@click.command()
@click.argument("folder", type=EXISTING)
@click.option("--audio", multiple=True, type=EXISTING, help="Recording to run, its first minute; repeatable.")
def prove(folder: Path, audio: tuple[Path, ...]) -> None:
    """Run the C library in FOLDER here and on emulated processors, and compare every byte.

    Leaves proof.json and proof.md in FOLDER. Fails where a byte differs or the size is over budget.
    """
    from firmware_bridge import proof, proof_audio, proof_report

    sounds = [("golden", proof_audio.golden_pcm())]
    sounds += [(path.name, proof_audio.recording(path)) for path in audio]
    found = proof.prove(folder, sounds, lambda what: click.echo(what, err=True))
    proof_report.write_proof(found)
    click.echo(proof_report.as_text(found))
    if found.differing:
        raise WakewordError(f"{found.differing:,} bytes differ, see {folder / proof_report.JSON_FILE}")
    if found.over_budget:
        raise WakewordError("the library is larger than a Cortex-M4 has room for; train a smaller network")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--port", default=None, help="Serial port of the board; default: esptool looks for it.")
@click.option("--chip", default="auto", show_default=True, help="esp32s3, esp32c3 …")
@click.option("--baud", default=460_800, show_default=True, help="Speed of the transfer.")
@click.option("--dry-run", is_flag=True, help="Print the exact command, and do nothing.")
def flash(source: Path, port: str | None, chip: str, baud: int, dry_run: bool) -> None:
    """Put a firmware on an Espressif chip with esptool.

    SOURCE is the build folder of ESP-IDF, or one image such as ESPHome's firmware.factory.bin.
    """
    import shlex

    from firmware_bridge.flash import flash_command, plan_flash, run_flash

    command = flash_command(plan_flash(source, chip), port, baud)
    click.echo(shlex.join(command))
    if not dry_run:
        run_flash(command)


@click.command()
@click.option("--port", default=None, help="Serial port: /dev/ttyACM0, COM3 …")
@click.option("--tcp", default=None, metavar="HOST:PORT", help="TCP instead of a serial port.")
@click.option("--baud", default=115_200, show_default=True, help="Speed of the serial port.")
@click.option("--config", type=EXISTING, default=None, help="What to do, see wakeword listen --print-config.")
@click.option(
    "--trace", type=click.Path(path_type=Path), default=None, help="Write the device's scores (CSV)."
)
@click.option(
    "--audio", type=click.Path(path_type=Path), default=None, help="Write the device's sound (WAV)."
)
@click.option("--once", is_flag=True, help="End when the device is gone, instead of waiting for it.")
@AS_JSON
def listen(
    port: str | None,
    tcp: str | None,
    baud: int,
    config: Path | None,
    trace: Path | None,
    audio: Path | None,
    once: bool,
    as_json: bool,
) -> None:
    """Print a line each time a device hears its phrase, and do what --config says.

    The device runs the C library of `wakeword firmware build --target c` and its ww_link.
    """
    from firmware_bridge import device_files, device_listener
    from wakeword.listen.service import until_stopped

    settings = _settings(config, as_json)
    with until_stopped(), ExitStack() as stack:
        writers = device_files.open_writers(stack, trace, audio)
        connect = _connector(
            port, tcp, baud, trace is not None, audio is not None or bool(settings.save.folder)
        )
        listener = device_listener.DeviceListener(settings, connect, config, _to_all(writers))
        hello = listener.hello
        click.echo(
            f"{listener.device} listens for {hello.phrase} (model {hello.model_id}); Ctrl-C ends it", err=True
        )
        listener.run_device(once)


def _settings(config: Path | None, as_json: bool) -> ListenSettings:
    from wakeword.config import load_config
    from wakeword.listen import logs
    from wakeword.listen.settings import ListenSettings, OutputSettings

    if config is None:
        return ListenSettings(output=OutputSettings(format="json" if as_json else "lines"))
    if as_json:
        raise UsageError(f"--config excludes --json; set output.format in {config}")
    settings = load_config(config, ListenSettings)
    logs.set_up(settings.log)
    return settings


def _connector(
    port: str | None, tcp: str | None, baud: int, wants_trace: bool, wants_audio: bool
) -> Callable[[], DeviceLink]:
    from firmware_bridge.bridge import DeviceLink
    from firmware_bridge.frames import WANT_AUDIO, WANT_TRACE
    from firmware_bridge.line import SerialLine, TcpLine, parse_address

    if (port is None) == (tcp is None):
        raise UsageError("give the device's --port /dev/tty…, or its --tcp HOST:PORT, one of the two")
    address = parse_address(tcp) if tcp is not None else None
    wants = wants_trace * WANT_TRACE + wants_audio * WANT_AUDIO

    def connect() -> DeviceLink:
        return DeviceLink(TcpLine(*address) if address else SerialLine(port or "", baud), wants)

    return connect


def _to_all(writers: list[Callable[[Message], None]]) -> Callable[[Message], None]:
    def write(message: Message) -> None:
        for writer in writers:
            writer(message)

    return write
