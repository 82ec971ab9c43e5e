"""The settings as text: a complete commented `listen.toml`, and changes to a user's own."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from wakeword.errors import UsageError, WakewordError
from wakeword.files import written_whole
from wakeword.listen import settings
from wakeword.listen.parts import needs
from wakeword.listen.settings import ListenSettings

HEAD = """\
# Every setting of `wakeword listen`, with its default. Use: wakeword listen --config listen.toml
# An unknown key or a value of the wrong type is an error. What begins with #: is an example; remove the #: to
# use it. Relative paths are relative to the folder of this file.
"""
EXAMPLES = {
    ("models", "path"): '"hey_nova.wakeword"',
    ("models", "phrases"): '{ "hey nova" = { fa_per_hour = 0.1 } }',
    ("commands", "command"): '["notify-send", "heard you"]',
    ("webhooks", "url"): '"http://127.0.0.1:8123/api/webhook/wakeword"',
    ("webhooks", "headers"): '{ Authorization = "Bearer ..." }',
}
LEFT_OUT = {("commands", "shell")}
"""Excludes another key of the example."""


def config_text() -> str:
    """A `listen.toml` of all keys with their defaults; lists of tables as examples."""
    return HEAD + "".join(f"\n{table}" for table in _tables())


def _tables() -> Iterator[str]:
    hints = get_type_hints(ListenSettings)
    for f in fields(ListenSettings):
        kind = hints[f.name]
        if is_dataclass(kind):
            yield f"# {_says(kind)}\n[{f.name}]\n" + "".join(f"{line}\n" for line in _keys(f.name, kind))
        else:
            kind = get_args(kind)[0]
            lines = "".join(f"#: {line}\n" for line in _keys(f.name, kind))
            yield f"# {_says(kind)} As many as you like.\n#: [[{f.name}]]\n{lines}"


def _keys(table: str, kind: Any) -> Iterator[str]:
    docs = field_docs()[kind.__name__]
    shown = [f for f in fields(kind) if (table, f.name) not in LEFT_OUT]
    texts = [f"{f.name} = {EXAMPLES.get((table, f.name)) or _toml(_default(f))}" for f in shown]
    width = max(len(text) for text in texts if len(text) < 30)
    for f, text in zip(shown, texts, strict=True):
        yield f"{text:<{width}}  # {docs[f.name].rstrip('.')}"


def _default(f: Field[Any]) -> Any:
    if f.default is not MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not MISSING else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return "{}" if isinstance(value, Mapping) else str(value)


def _says(kind: Any) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def field_docs() -> dict[str, dict[str, str]]:
    """class -> field -> the docstring under it, of `wakeword.listen.settings`."""
    tree = ast.parse(inspect.getsource(settings))
    return {node.name: _docs_of(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _docs_of(node: ast.ClassDef) -> dict[str, str]:
    docs = {}
    for statement, following in zip(node.body, node.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                docs[statement.target.id] = " ".join(text.value.split())
    return docs


def write_point(config: Path, models: list[int], phrase: str, fa_per_hour: float) -> None:
    """Set a phrase's operating point in a `listen.toml`, leaving all else in it as it is.

    `models` are the places of the models that have the phrase. WakewordError where it cannot be written.
    """
    with needs("tomlkit", "serve"):
        import tomlkit
        from tomlkit.exceptions import TOMLKitError
    try:
        document = tomlkit.parse(config.read_text(encoding="utf-8"))
        for at in models:
            model: Any = document["models"][at]
            point = tomlkit.inline_table()
            point["fa_per_hour"] = fa_per_hour
            model.setdefault("phrases", tomlkit.inline_table())[phrase] = point
        text = tomlkit.dumps(document)
    except (OSError, TOMLKitError, LookupError, TypeError, ValueError) as err:
        raise UsageError(f"{config}: cannot change it ({err})") from err
    _write(config, text)


def _write(path: Path, text: str) -> None:
    try:
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
            partial.chmod(path.stat().st_mode & 0o777)
    except OSError as err:
        raise WakewordError(f"cannot write {path}: {err.strerror}") from err
