"""What the tests of the web server share: a listener that serves, and the visitor's side of a request."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from local_servers import free_port
from tiny import sounds

from wakeword.config import load_config
from wakeword.listen.events import MICROPHONE, Heard
from wakeword.listen.listener import Listener
from wakeword.listen.settings import ListenSettings

SOUND = sounds(8.0, seed=3)


@dataclass
class Site:
    listener: Listener
    address: str


@contextmanager
def a_site(tiny_model: Path, folder: Path, **web: Any) -> Iterator[Site]:
    """A listener with these settings of [web], whose config and model lie in `folder`."""
    shutil.copy(tiny_model, folder / "tiny.wakeword")
    port = free_port()
    table = {"enabled": True, "port": port, **web}
    lines = ["[[models]]", 'path = "tiny.wakeword"', "[output]", 'format = "none"', "[web]"]
    config = folder / "listen.toml"
    config.write_text("\n".join(lines + [f"{key} = {json.dumps(value)}" for key, value in table.items()]))
    listener = Listener(load_config(config, ListenSettings), config)
    listener.parts.adapt()
    try:
        yield Site(listener, f"http://127.0.0.1:{port}")
    finally:
        listener.parts.close()


def hear(site: Site) -> list[Heard]:
    """Let a stream in the microphone's name hear eight seconds, and end."""
    site.listener.turned_s = time.monotonic()
    stream = site.listener.engine.open(MICROPHONE, "a test")
    try:
        return stream.feed(SOUND)
    finally:
        stream.close()


def run(work: Callable[[aiohttp.ClientSession], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
            return await work(session)

    return asyncio.run(within())


def get(address: str, **more: Any) -> tuple[int, bytes, Any]:
    async def ask(session: aiohttp.ClientSession) -> tuple[int, bytes, Any]:
        async with session.get(address, allow_redirects=False, **more) as answer:
            return answer.status, await answer.read(), answer.headers

    return run(ask)  # type: ignore[no-any-return]


def post(address: str, body: bytes, kind: str = "application/json", **headers: str) -> tuple[int, str]:
    async def ask(session: aiohttp.ClientSession) -> tuple[int, str]:
        async with session.post(address, data=body, headers={"Content-Type": kind, **headers}) as answer:
            return answer.status, await answer.text()

    return run(ask)  # type: ignore[no-any-return]
