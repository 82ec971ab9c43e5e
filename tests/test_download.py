"""Downloads from a real HTTP server on this machine: whole, resumed, broken, wrong, refused."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wakeword.errors import EncoderError
from wakeword.train.download import fetch

CONTENT = bytes(range(256)) * 5_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A file server whose faults a test can choose."""

    url: str = ""
    ranges: bool = True
    send_at_most: int = len(CONTENT)
    asked: list[str | None] = field(default_factory=list)


def make_handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
            if self.path != "/file" or start >= len(CONTENT):
                self.send_error(416 if start else 404)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : start + server.send_at_most])

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), make_handler(state)) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/file"
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield state
        http.shutdown()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_whole_file_and_its_progress(server: Server, tmp_path: Path) -> None:
    reports: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "weights.pt"
    assert fetch(server.url, SHA256, target, lambda done, total: reports.append((done, total))) == target
    assert target.read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert files(target.parent) == {"weights.pt"}


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pt"
    target.write_bytes(CONTENT)
    fetch(server.url, SHA256, target)
    assert server.asked == []
    target.write_bytes(b"damaged")
    fetch(server.url, SHA256, target)
    assert target.read_bytes() == CONTENT


def test_a_broken_download_is_resumed(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pt"
    server.send_at_most = 700_000
    with pytest.raises(EncoderError, match=r"closed after 700000 of 1280000 bytes.*resume"):
        fetch(server.url, SHA256, target)
    assert files(tmp_path) == {".weights.pt.part"}
    fetch(server.url, SHA256, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=700000-"]
    assert files(tmp_path) == {"weights.pt"}


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / ".weights.pt.part").write_bytes(CONTENT[:1_000])
    assert fetch(server.url, SHA256, tmp_path / "weights.pt").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".weights.pt.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, SHA256, tmp_path / "weights.pt").read_bytes() == CONTENT


def test_wrong_content_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=f"SHA-256 {SHA256}, expected 0000"):
        fetch(server.url, "0" * 64, tmp_path / "weights.pt")
    assert files(tmp_path) == set()


def test_missing_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="answered 404"):
        fetch(server.url + "-not", SHA256, tmp_path / "weights.pt")


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"cannot reach http://127\.0\.0\.1:1/file .*may be offline"):
        fetch("http://127.0.0.1:1/file", SHA256, tmp_path / "weights.pt")


def test_a_target_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"a file")
    with pytest.raises(EncoderError, match="cannot write"):
        fetch(server.url, SHA256, tmp_path / "folder" / "weights.pt")


def test_the_bar_shows_on_a_terminal_only(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("sys.stderr", stream)
        fetch(server.url, SHA256, tmp_path / f"weights-{shown}.pt")
        assert ("weights-True.pt" in stream.getvalue()) is shown
        assert bool(stream.getvalue()) is shown
