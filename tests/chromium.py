"""A real headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

START_S = 60.0
STEP_S = 0.1
CALL_S = 20.0
LOADED = "Page.loadEventFired"


class Chromium:
    """One browser with one page; an async context manager."""

    def __init__(self, width: int = 960, height: int = 900) -> None:
        program = (
            shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        )
        if program is None:
            pytest.skip("not installed: chromium")
        self._folder = Path(tempfile.mkdtemp(prefix="chromium"))
        self._command = [
            program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={self._folder}",
            f"--window-size={width},{height}", "--hide-scrollbars", "--no-first-run", "--disable-gpu",
            "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required", "--mute-audio",
            *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank",
        ]  # fmt: skip
        self._numbers = itertools.count(1)
        self.messages: list[str] = []
        """What the page wrote to its console, and its errors."""

    async def __aenter__(self) -> Chromium:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(await self._page_address(), max_msg_size=0)
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self._emulate("light")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._session.close()
        self._process.kill()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _page_address(self) -> str:
        port_file = self._folder / "DevToolsActivePort"
        for _ in range(int(START_S / STEP_S)):
            await asyncio.sleep(STEP_S)
            if port_file.exists() and (lines := port_file.read_text().split()):
                async with self._session.get(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
                    pages = [one for one in await answer.json() if one["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
        pytest.skip("chromium does not start here")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; once more where the answer does not come."""
        try:
            return await self._call(method, params)
        except asyncio.TimeoutError:
            return await self._call(method, params)

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=CALL_S)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.messages.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif message.get("method") == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])

    async def open(self, address: str) -> None:
        """Go to a page, and wait until it is there: what is asked while it changes may get no answer."""
        await self.call("Page.navigate", url=address)
        while (message := await self._socket.receive_json(timeout=CALL_S)).get("method") != LOADED:
            self._note(message)

    async def evaluate(self, code: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        result = await self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait_for(self, code: str, seconds: float = 30.0) -> Any:
        """The value of an expression once it is truthy."""
        for _ in range(int(seconds / STEP_S)):
            if value := await self.evaluate(
                f"(() => {{ try {{ return {code} }} catch {{ return null }} }})()"
            ):
                return value
            await asyncio.sleep(STEP_S)
        raise AssertionError(f"not within {seconds:g} s: {code}; the page said {self.messages}")

    async def screenshot(self, path: Path, dark: bool = False) -> None:
        """What the window shows as a PNG."""
        await self._emulate("dark" if dark else "light")
        await asyncio.sleep(0.6)  # the plots are drawn four times a second
        shot = await self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(shot["data"]))

    async def _emulate(self, scheme: str) -> None:
        """A colour scheme, and no animations: drawn without a GPU they take a core."""
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        pairs = [{"name": name, "value": value} for name, value in features.items()]
        await self.call("Emulation.setEmulatedMedia", features=pairs)
