"""npm packages: from a `node_modules` at hand, else fetched by npm."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakeword.errors import ExportError, UsageError

TIMEOUT_S = 600


@contextmanager
def npm_package(name: str, version: str, node_modules: Path | None = None) -> Iterator[Path]:
    """The folder of an npm package; without `node_modules` it is fetched, and gone afterwards.

    Raises ExportError where there is no npm or it cannot fetch, UsageError where the folder given lacks it.
    """
    if node_modules is not None:
        if not (node_modules / name / "package.json").is_file():
            raise UsageError(
                f"--npm {node_modules}: no {name} in it; run there: npm install {name}@{version}"
            )
        yield node_modules / name
        return
    with tempfile.TemporaryDirectory() as folder:
        _fetch(name, version, Path(folder))
        yield Path(folder) / "node_modules" / name


def _fetch(name: str, version: str, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            f"npm is missing, and {name} comes from there; install Node.js (on Debian: apt-get install npm), "
            f"or name a node_modules folder that holds {name}@{version} with --npm"
        )
    # Without install scripts: nothing that a package brings is run.
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    try:
        done = subprocess.run(
            [*command, f"{name}@{version}"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise ExportError(f"npm did not fetch {name}@{version} within {TIMEOUT_S} s; try again") from err
    if done.returncode:
        reason = next(iter(done.stderr.strip().splitlines()), "no reason given")
        raise ExportError(f"npm could not fetch {name}@{version} ({reason})")
