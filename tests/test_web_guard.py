"""Who is let in to the web server, and how much patience it has with them."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from local_servers import wait_until
from web_site import Site, a_site, get, post

from wakeword.errors import WakewordError
from wakeword.listen import web_patience
from wakeword.listen.web_guard import Guard, is_loopback, read_token

TOKEN = "a-token-that-cannot-be-guessed"


@pytest.fixture(scope="module")
def site(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with a_site(tiny_model, tmp_path_factory.mktemp("site")) as one:
        yield one


def test_other_web_pages_are_kept_out(site: Site) -> None:
    good = b'{"phrase": "hey nova", "fa_per_hour": 2}'
    tune = f"{site.address}/api/tune"
    assert post(tune, good, Origin="http://evil.example")[0] == 403
    assert post(tune, good, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert post(tune, good, "text/plain")[0] == 415
    assert get(f"{site.address}/api/state", headers={"Host": "evil.example"})[0] == 403  # DNS rebinding
    assert get(f"{site.address}/health", headers={"Host": "localhost:1234"})[0] == 200  # a tunnel
    assert site.listener.engine.thresholds["hey nova"] == 0.5
    headers = get(f"{site.address}/")[2]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert get(f"{site.address}/../web.py")[0] == get(f"{site.address}/page/../web.py")[0] == 404


def test_a_token_guards_what_others_can_reach(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    with a_site(tiny_model, tmp_path, host="0.0.0.0", token_file="token") as site:
        assert get(f"{site.address}/health")[0] == 200
        for path in ("/", "/api/state", "/metrics", "/api/events"):
            assert get(f"{site.address}{path}")[0] == 401
            assert get(f"{site.address}{path}", headers={"Authorization": "Bearer wrong"})[0] == 401
        assert get(f"{site.address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200
        assert get(f"{site.address}/?token=wrong")[0] == 401
        status, _, headers = get(f"{site.address}/?token={TOKEN}")
        assert (status, headers["Location"]) == (302, "/")
        assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert get(f"{site.address}/", headers={"Cookie": cookie})[0] == 200


def test_serving_to_others_needs_a_good_token(tmp_path: Path) -> None:
    with pytest.raises(WakewordError, match="needs a token"):
        read_token(None, "0.0.0.0")
    assert read_token(None, "127.0.0.1") is None
    for text in ("", "short", "has spaces in the middle", "ümläüte-ümläüte-ümläüte"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(WakewordError, match="16 or more"):
            read_token(tmp_path / "token", "0.0.0.0")
    with pytest.raises(WakewordError, match="cannot read"):
        read_token(tmp_path / "none", "0.0.0.0")
    assert [is_loopback(h) for h in ("::1", "[::1]", "127.3.2.1", "localhost", "LocalHost")] == [True] * 5
    assert not any(is_loopback(h) for h in ("0.0.0.0", "localhost.evil.example", "192.168.1.2", ""))
    assert Guard("0.0.0.0", TOKEN)._fits(TOKEN) and not Guard("0.0.0.0", None)._fits("")


def test_connections_that_ask_for_nothing_are_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("127.0.0.1", urlsplit(site.address).port)

    def is_closed(peer: socket.socket) -> bool:
        try:
            return bool(select.select([peer], [], [], 0)[0]) and peer.recv(65536) == b""
        except ConnectionResetError:
            return True

    monkeypatch.setattr(web_patience, "ASK_S", 0.5)
    with socket.create_connection(where, timeout=10) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        wait_until(lambda: is_closed(silent))
    monkeypatch.setattr(web_patience, "ASK_S", 60.0)
    monkeypatch.setattr(web_patience, "MAX_SILENT", 20)
    with ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(where, timeout=10)) for _ in range(50)]
        wait_until(lambda: sum(map(is_closed, crowd)) == 30)
        assert get(f"{site.address}/health")[0] == 200
        patient = next(peer for peer in crowd if not is_closed(peer))
        patient.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert patient.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_body_that_never_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_patience, "BODY_S", 0.3)
    with socket.create_connection(("127.0.0.1", urlsplit(site.address).port), timeout=10) as peer:
        peer.sendall(
            b"POST /api/tune HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 4000\r\n\r\n{"
        )
        assert peer.recv(65536).startswith(b"HTTP/1.1 408")
