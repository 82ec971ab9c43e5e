"""What README and docs show: commands parse, settings load, code runs, links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pytest
import soundfile

import wakeword
from wakeword.cli import commands
from wakeword.config import load_config
from wakeword.listen.settings import ListenSettings

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
MICROPHONE = ('for detection in wakeword.listen("hey_nova.wakeword")', "async for")
"""Code that would wait for somebody to speak."""


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    found = [
        Block(page.name, language, text)
        for page in PAGES
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if language in languages
    ]
    assert found
    return found


def orders() -> Iterator[tuple[str, list[str]]]:
    """(page, arguments) of each `wakeword` command shown, also behind a pipe."""
    for page, _, text in blocks("sh", ""):
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"\||&&", line.split(" #")[0]):
                if part.strip().startswith("wakeword "):
                    yield page, shlex.split(part.split(" > ")[0])[1:]


@pytest.mark.parametrize(("page", "order"), list(orders()), ids=lambda value: str(value)[:60])
def test_commands_parse(page: str, order: list[str]) -> None:
    command: click.Command = commands
    context = click.Context(command)
    while isinstance(command, click.Group):
        name, command, order = command.resolve_command(context, order)  # type: ignore[assignment]
        context = click.Context(command, parent=context, info_name=name)
    command.make_parser(context).parse_args(list(order))


def test_settings_load(tmp_path: Path) -> None:
    for _, _, text in blocks("toml"):
        path = tmp_path / "listen.toml"
        path.write_text(text, encoding="utf-8")
        assert load_config(path, ListenSettings) != ListenSettings()


def test_json_is_json() -> None:
    for _, _, text in blocks("json"):
        json.loads(text)


def test_code_runs(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sound = np.random.default_rng(1).normal(0, 0.1, 48_000).astype(np.float32)
    for name in ("hey_nova.wakeword", "lights.wakeword", "out/demo/demo.wakeword"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_model, path)
    for name in ("party.flac", "out/demo/stream.wav"):
        soundfile.write(tmp_path / name, sound, 16_000)
    ran = 0
    for page, _, text in blocks("python"):
        if any(line in text for line in MICROPHONE):
            ast.parse("async def shown():\n" + "".join(f"    {line}\n" for line in text.splitlines()))
            continue
        names = {"wakeword": wakeword, "blocks": np.split(sound, 6)}
        if page != "negatives.md":  # speaks hundreds of clips
            exec(compile(text, page, "exec"), names)
            ran += 1
        else:
            exec(compile("\n".join(line for line in text.splitlines() if "import" in line), page, "exec"))
    assert ran >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
