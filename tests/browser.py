"""Real Chromium, headless, on an exported page: a wrapper page drives it and posts what it heard."""

from __future__ import annotations

import functools
import http.server
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DRIVER = """<!doctype html>
<iframe id="page" src="%s" width="700" height="700" allow="microphone"></iframe>
<script>
const page = document.getElementById("page");
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  const state = () => page.contentWindow?.wakeword;
  const listen = () => page.contentDocument.getElementById("listen");
  while (!state()?.detector && !state()?.error) await wait(100);
  if (%d) {
    listen().click();
    while (state().recorded.length < %d && !state().error) await wait(100);
  } else while (!state().done && !state().error) await wait(100);
  const { events, recorded, error } = state();
  const samples = recorded.flatMap((hop) => Array.from(hop));
  await fetch("/heard", { method: "POST", body: JSON.stringify({ events, error, samples }) });
})();
</script>"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self.path != "/drive.html":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.driver.encode())  # type: ignore[attr-defined]
        return None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.heard.put(json.loads(body))  # type: ignore[attr-defined]


def find_chromium() -> str | None:
    """Its path, if it is installed."""
    return next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)


def browse(
    folder: Path, profile: Path, query: str, hops: int = 0, flags: Sequence[str] = (), timeout_s: float = 120
) -> dict[str, Any]:
    """Open the page with a query; wait until its file is heard, or so many hops of the microphone."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder))
    )
    server.driver = DRIVER % (f"index.html?{query}", hops > 0, hops)  # type: ignore[attr-defined]
    server.heard = queue.Queue()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = find_chromium()
    assert chromium
    command = [
        *(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={profile}", "--autoplay-policy=no-user-gesture-required", *flags),
        f"http://127.0.0.1:{server.server_port}/drive.html",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        heard: dict[str, Any] = server.heard.get(timeout=timeout_s)  # type: ignore[attr-defined]
        return heard
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()


def microphone_of(wav: Path) -> tuple[str, ...]:
    """Flags for a fake microphone that hears a WAV once."""
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={wav}%noloop",
    )
