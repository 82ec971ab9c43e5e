"""The documentation as a site: builds without a warning, tells every command and setting, fetches nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from html import unescape
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest

import wakeword
from wakeword.cli import commands
from wakeword.config import TrainConfig
from wakeword.listen.settings import ListenSettings

ROOT = Path(__file__).resolve().parents[1]
FETCHED = re.compile(r"<(?:link|script|img|iframe)\b[^>]*(?:href|src)=\"?(?:https?:)?//", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    return folder


def text_of(page: Path) -> str:
    """What a reader sees, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8"))).split())


def every_command(group: click.Group, name: str = "wakeword") -> Iterator[tuple[str, click.Command]]:
    for part, command in group.commands.items():
        yield f"{name} {part}", command
        if isinstance(command, click.Group):
            yield from every_command(command, f"{name} {part}")


def test_every_command_and_flag_is_told(site: Path) -> None:
    text = text_of(site / "commands.html")
    for name, command in every_command(commands):
        assert f"{name} " in text
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[-1] in text, (name, option.opts)
    assert "Sentinel" not in text


def every_key(kind: Any, table: str = "") -> Iterator[tuple[str, str]]:
    """(table, key) of each setting."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        inner = next(
            (one for one in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(one)), None
        )
        if inner is not None and not table:
            yield from every_key(inner, field.name)
        else:
            yield table, field.name


@pytest.mark.parametrize("kind", [TrainConfig, ListenSettings])
def test_every_setting_is_told(site: Path, kind: Any) -> None:
    shown = (site / "settings.html").read_text(encoding="utf-8")
    sections = dict(re.findall(r"<h3 id=\"([\w-]+)\">(.*?)(?=<h[23]|</article)", shown, re.DOTALL))
    for table, key in every_key(kind):
        section = sections[table] if table and key != "shell" else shown  # it stands above the tables
        assert f"<code>{key}</code>" in section, (table, key)


def test_every_public_name_is_told(site: Path) -> None:
    text = text_of(site / "python_api.html")
    assert all(f"wakeword.{name}" in text for name in wakeword.__all__)


def test_nothing_is_fetched(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 15
    for page in pages:
        assert not FETCHED.search(page.read_text(encoding="utf-8")), page.name
