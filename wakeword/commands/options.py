"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from wakeword.manifest import Mode

EXISTING = click.Path(path_type=Path)
BUNDLE = click.argument("model", type=EXISTING)
MODE = click.option(
    "--mode",
    type=click.Choice(get_args(Mode)),
    default=None,
    help="Who listens [cascade, where there is a student].",
)
CLUSTER = click.option(
    "--cluster", default=None, help="Who works: a Dask scheduler, tcp://host:8786, or local:N [this machine]."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
