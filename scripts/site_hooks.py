"""What mkdocs.yml adds to docs/: pages kept elsewhere in the repository, and settings as tables.

The same pages are read in the repository, so their links lead out of docs/; here those lead to our copies.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
COPIES = {"benchmarks/RESULTS.md": "results.md", "CHANGELOG.md": "changes.md"}
LINKS = {
    "../benchmarks/RESULTS.md": "results.md",
    "../configs/listen.toml": "settings.md#a-listener",
    "../configs/example.toml": "settings.md#a-training",
    "../examples": "",
}
"""How a page leads out of docs/ -> the page of the site, or nothing: then the text stays."""
LINK = re.compile(r"\[([^\]]*)\]\((\.\.[^)]*)\)")
MARK = re.compile(r"<!-- settings of (\S+) -->")
KEY = re.compile(r"(?P<key>\w+) = (?P<value>[^#]*?)\s*(?:# ?(?P<text>.*))?")


class Setting(NamedTuple):
    """A line of a settings file."""

    key: str
    value: str
    text: str


class Table(NamedTuple):
    """A table of a settings file."""

    name: str
    text: str
    settings: list[Setting]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the pages that are kept elsewhere."""
    for path, page in COPIES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn links that lead out of docs/, and fill in settings."""
    markdown = LINK.sub(lambda found: _link(found[1], found[2]), markdown)
    return MARK.sub(lambda found: "\n".join(_shown(ROOT / found[1])), markdown)


def on_page_content(html: str, **_: object) -> str:
    """Leave out what mkdocs-click 0.9 takes for a default: click's marks of none (from 8.3 on a new one)."""
    return (
        html.replace("<code>Sentinel.UNSET</code>", "")
        .replace("<td>None</td>", "<td></td>")
        .replace("<td>N/A</td>", "<td></td>")
    )


def _link(text: str, target: str) -> str:
    there = target.removeprefix("../docs/") if target.startswith("../docs/") else LINKS[target]
    return f"[{text}]({there})" if there else text


def _shown(path: Path) -> Iterator[str]:
    for table in tables(path.read_text(encoding="utf-8")):
        if table.name:
            yield f"### `{table.name}`\n\n{table.text}\n"
        yield "| key | default | |\n|---|---|---|"
        for key, value, text in table.settings:
            yield f"| `{key}` | {_code(value)} | {text.replace('|', '&#124;')} |"
        yield ""


def tables(text: str) -> Iterator[Table]:
    """The tables of a settings file with their comments; examples (`#:`) count as well."""
    said, table = "", Table("", "", [])
    for line in text.splitlines():
        shown = line.removeprefix("#: ")
        if shown.startswith("["):
            if table.settings:
                yield table
            table = Table(shown.partition("  #")[0], said, [])
        elif shown.startswith("# "):
            said = shown[2:]
        elif found := KEY.fullmatch(shown):
            table.settings.append(Setting(found["key"], found["value"], found["text"] or ""))
    yield table


def _code(value: str) -> str:
    return f"<code>{html.escape(value)}</code>".replace("|", "&#124;")
