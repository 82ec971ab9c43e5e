"""The `wakeword` command: gathers the commands of `wakeword.commands`, and explains their failures."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import click

import wakeword
from wakeword.commands import (
    check,
    data,
    doctor,
    enroll,
    export,
    firmware,
    forget,
    judge,
    listen,
    mine,
    record,
    service,
    synth,
    train,
)
from wakeword.errors import WakewordError

OWN_PACKAGES = ("wakeword", "export", "firmware_bridge")
EXTRAS = {
    name: extra
    for extra, names in {
        "cluster": ("dask", "distributed"),
        "asr": ("ctranslate2", "faster_whisper"),
        "firmware": ("flatbuffers", "pymicro_features", "serial", "tflite_micro"),
        "synth": ("hibari", "parselmouth", "piper", "wordfreq"),
        "serve": ("aiohttp", "paho", "prometheus_client", "watchfiles", "wyoming", "zeroconf"),
    }.items()
    for name in names
}
"""Packages that another extra than `train` installs."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(wakeword.__version__, prog_name="wakeword")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def commands(verbose: bool) -> None:
    """Wake words from a pretrained speech-recognition encoder: train, judge, listen."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0 when fine, 1 for a failure explained on stderr, 2 for wrong usage."""
    # Torch's threads wait for each other by spinning: on busy cores five times slower than one thread alone.
    # Asleep they are faster than one. To be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
    except MemoryError:
        click.echo("wakeword: out of memory; give it less at a time, or close other programs", err=True)
        return 1
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] in OWN_PACKAGES:
            raise
        extra = EXTRAS.get((err.name or "").partition(".")[0], "train")
        click.echo(f"wakeword: this needs {err.name}; run: pip install 'wakeword[{extra}]'", err=True)
        return 1
    return 0


def _one_line(err: click.ClickException) -> str:
    context = err.ctx if isinstance(err, click.UsageError) else None
    hint = f"; see {context.command_path} --help" if context else ""
    return " ".join(err.format_message().split()).rstrip(".") + hint


for command in (
    train.train,
    listen.listen,
    judge.evaluate,
    judge.info,
    listen.devices,
    doctor.doctor,
    service.service,
    check.check,
    mine.mine,
    synth.synth,
    enroll.enroll,
    data.data,
    record.record,
    export.export,
    export.verify,
    firmware.firmware,
    forget.forget,
):
    commands.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
