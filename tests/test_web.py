"""The web server: state, events, metrics and health; who is let in; and the page in a real Chromium."""

from __future__ import annotations

import asyncio
import io
import json
import select
import shutil
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest
import soundfile
from chromium import Chromium
from prometheus_client.parser import text_string_to_metric_families
from tiny import PHRASES, sounds

from wakeword.config import load_config
from wakeword.errors import WakewordError
from wakeword.listen import web_patience
from wakeword.listen.events import MICROPHONE, Heard, Lost, SourceState
from wakeword.listen.listener import Listener
from wakeword.listen.metrics import Peaks, source_of
from wakeword.listen.settings import ListenSettings, ModelSettings, WebSettings
from wakeword.listen.web import MAX_FOLLOWERS, start
from wakeword.listen.web_guard import Guard, is_loopback, read_token

TOKEN = "a-token-that-cannot-be-guessed"
SOUND = sounds(8.0, seed=3)


@dataclass
class Site:
    listener: Listener
    address: str


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def open_site(tiny_model: Path, folder: Path, **web: Any) -> Site:
    model = folder / "tiny.wakeword"
    shutil.copy(tiny_model, model)
    port = free_port()
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"enabled": True, "port": port, **web}.items()]
    config = folder / "listen.toml"
    tables = [
        "[[models]]",
        'path = "tiny.wakeword"',
        "",
        "[output]",
        'format = "none"',
        "",
        "[web]",
        *lines,
        "",
    ]
    config.write_text("\n".join(tables))
    listener = Listener(load_config(config, ListenSettings), config)
    listener.parts.adapt()
    return Site(listener, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def site(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    one = open_site(tiny_model, tmp_path_factory.mktemp("site"))
    yield one
    one.listener.parts.close()


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


def wait_until(true: Callable[[], Any]) -> Any:
    for _ in range(200):
        if value := true():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen within ten seconds")


def metrics(site: Site) -> dict[tuple[str, str], float]:
    """(name, labels) -> value, as Prometheus' own parser reads them."""
    status, text, _ = get(f"{site.address}/metrics")
    assert status == 200
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_state_holds_detections_whose_sound_can_be_played(site: Site) -> None:
    heard = hear(site)
    newest = heard[-1].number

    def state() -> Any:
        now = json.loads(get(f"{site.address}/api/state")[1])
        shown = [d for d in now["detections"] if d["number"] == newest]
        return now if shown and shown[0]["has_clip"] else None

    now = wait_until(state)
    assert [d["phrase"] for d in now["detections"]][-len(heard) :] == [h.detection.phrase for h in heard]
    assert [one["phrase"] for one in now["phrases"]] == list(PHRASES)
    assert now["phrases"][0]["rates"] == [0.5, 2.0]
    status, wav, headers = get(f"{site.address}/api/clip/{heard[0].number}.wav")
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    assert (status, headers["Content-Type"], rate) == (200, "audio/wav", 16_000)
    begin = max(0, round((heard[0].detection.time_s - 2.5) * rate))
    np.testing.assert_allclose(samples, SOUND[begin : begin + len(samples)], atol=1e-4)
    assert get(f"{site.address}/api/clip/999999.wav")[0] == 404


def test_metrics_count_what_happened(site: Site) -> None:
    before = metrics(site)
    heard = hear(site)
    site.listener.hub.publish(Lost(MICROPHONE, 1.5))
    site.listener.hub.publish(SourceState("wyoming 10.0.0.7:1", "listening", "x", returns=2))
    site.listener.hub.publish(SourceState("wyoming 10.0.0.7:1", "ended", "x"))
    site.listener.hub.problem("webhook", "refused")

    def grown(name: str, labels: str) -> float:
        return metrics(site).get((name, labels), 0) - before.get((name, labels), 0)

    wait_until(lambda: grown("wakeword_reconnects_total", "wyoming") == 1)
    now = metrics(site)
    names = [one.detection.phrase for one in heard]
    expected = {
        ("wakeword_detections_total", f"{phrase},{MICROPHONE}"): names.count(phrase) for phrase in PHRASES
    } | {
        ("wakeword_lost_audio_seconds_total", MICROPHONE): 1.5,
        ("wakeword_losses_total", MICROPHONE): 1,
        ("wakeword_problems_total", "webhook"): 1,
    }
    assert {key: now[key] - before.get(key, 0) for key in expected} == expected
    hops = now["wakeword_hops_total", MICROPHONE] - before.get(("wakeword_hops_total", MICROPHONE), 0)
    assert 96 <= hops <= 100
    assert now["wakeword_verified_hops_total", MICROPHONE] > 0
    assert now["wakeword_score_peak", "hey nova"] >= 0.5 == now["wakeword_threshold", "hey nova"]
    assert now["process_cpu_seconds_total", ""] > 0


def test_labels_do_not_grow_with_clients() -> None:
    assert source_of("wyoming 10.0.0.7:4711") == source_of("wyoming 10.0.0.8:1") == "wyoming"


def test_peaks_forget_after_a_minute() -> None:
    peaks = Peaks()
    for at, score in ((0.0, 0.9), (10.0, 0.3), (20.0, 0.5)):
        peaks.add("x", score, at)
    assert [peaks.highest(t)["x"] for t in (20, 59, 61, 79, 81)] == [0.9, 0.9, 0.5, 0.5, 0.0]


def test_health_follows_the_loop(site: Site) -> None:
    site.listener.turned_s = time.monotonic()
    assert get(f"{site.address}/health")[0] == 200
    site.listener.turned_s = time.monotonic() - 60
    status, body, _ = get(f"{site.address}/health")
    assert (status, json.loads(body)["status"]) == (503, "stuck")
    site.listener.turned_s = time.monotonic()
    site.listener.hub.publish(SourceState(MICROPHONE, "lost", "unplugged"))
    wait_until(lambda: json.loads(get(f"{site.address}/health")[1])["status"] == "deaf")
    site.listener.hub.publish(SourceState(MICROPHONE, "ended", "x"))


def test_tuning_takes_effect_and_is_written_back(site: Site) -> None:
    status, text = post(f"{site.address}/api/tune", b'{"phrase": "hey nova", "fa_per_hour": 2}')
    assert (status, json.loads(text)[0]["threshold"]) == (200, 0.25)
    assert site.listener.engine.thresholds["hey nova"] == 0.25
    assert site.listener.config is not None
    written = load_config(site.listener.config, ListenSettings)
    assert written.models[0].phrases["hey nova"].fa_per_hour == 2
    assert post(f"{site.address}/api/tune", b'{"phrase": "hey nova", "fa_per_hour": 0.5}')[0] == 200


@pytest.mark.parametrize(
    "body, status",
    [
        (b'{"phrase": "hey nova", "fa_per_hour": 3}', 400),
        (b'{"phrase": "other", "fa_per_hour": 0.5}', 400),
        (b'{"phrase": "hey nova"}', 400),
        (b'{"phrase": "hey nova", "fa_per_hour": true}', 400),
        (b"[]", 400),
        (b"nonsense", 400),
        (b'{"phrase": "' + 10_000 * b"x" + b'"}', 413),
    ],
)
def test_bad_tuning_is_refused_with_a_reason(site: Site, body: bytes, status: int) -> None:
    got, text = post(f"{site.address}/api/tune", body)
    assert (got, bool(text)) == (status, True)
    assert site.listener.engine.thresholds["hey nova"] == 0.5


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
    site = open_site(tiny_model, tmp_path, host="0.0.0.0", token_file="token")
    try:
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
    finally:
        site.listener.parts.close()


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


def test_a_port_in_use(tiny_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        web = WebSettings(enabled=True, port=other.getsockname()[1])
        listener = Listener(ListenSettings(models=(ModelSettings(path=str(tiny_model)),), web=web))
        with pytest.raises(OSError, match="in use"):
            start(listener)
    server = start(listener)
    server.close()
    server.close()


def test_events_follow_and_their_number_is_limited(site: Site) -> None:
    async def follow(session: aiohttp.ClientSession) -> tuple[list[Any], int]:
        address = f"{site.address}/api/events"
        followers = [await session.get(address) for _ in range(MAX_FOLLOWERS)]
        async with session.get(address) as one_more:
            refused = one_more.status
        feeding = asyncio.get_running_loop().run_in_executor(None, hear, site)
        kinds: list[Any] = []
        while "heard" not in kinds or "clip" not in kinds:
            line = await followers[0].content.readline()
            if line.startswith(b"data: "):
                kinds.append(json.loads(line[6:])["kind"])
        await feeding
        for one in followers:
            one.close()
        return kinds, refused

    kinds, refused = run(follow)
    assert {"pulse", "heard", "clip"} <= set(kinds)
    assert refused == 503
    hear(site)  # who left is noticed when something is sent to him
    wait_until(lambda: "web page" not in [one.name for one in site.listener.hub.subscriptions])


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


def test_the_page_in_a_real_browser(site: Site, tmp_path: Path) -> None:
    stop = threading.Event()

    def play() -> None:
        stream = site.listener.engine.open(MICROPHONE, "USB Microphone")
        while not stop.is_set():
            for i in range(0, len(SOUND), 3200):
                site.listener.turned_s = time.monotonic()
                stream.feed(SOUND[i : i + 3200])
                time.sleep(0.2)
        stream.close()

    async def look() -> None:
        async with Chromium() as page:
            await page.open(f"{site.address}/")
            await page.wait_for("document.querySelectorAll('#detections .play:not([hidden])').length > 1")
            assert await page.evaluate("document.getElementById('status').textContent") == "listening"
            assert await page.evaluate("document.getElementById('source').textContent") == (
                "microphone: USB Microphone"
            )
            assert await page.evaluate(
                "[...document.querySelectorAll('.phrase strong')].map((e) => e.textContent)"
            ) == list(PHRASES)
            await page.wait_for("document.getElementById('level').style.transform.match(/0[.]\\d/)")
            await page.wait_for(f"({COLOURED_PIXELS}) > 100")  # a line was drawn
            assert await page.evaluate(f"({PLAYS})()") > 0.5
            await page.evaluate(f"({MOVE_SLIDER})()")
            await page.wait_for("document.querySelector('.rate-text').textContent.startsWith('2 false')")
            await page.wait_for("document.querySelector('.phrase input').disabled === false")
            assert site.listener.engine.thresholds["hey nova"] == 0.25
            await page.screenshot(tmp_path / "page.png")
            # This test reads the canvas back, which the page itself never does.
            assert [m for m in page.messages if "willReadFrequently" not in m] == []

    playing = threading.Thread(target=play)
    playing.start()
    try:
        asyncio.run(look())
    finally:
        stop.set()
        playing.join()
    shot = (tmp_path / "page.png").read_bytes()
    assert shot.startswith(b"\x89PNG") and len(shot) > 20_000


COLOURED_PIXELS = """(() => {
  const canvas = document.querySelector('canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0;
  for (let i = 0; i < data.length; i += 4) n += data[i + 3] > 0 && data[i + 2] > data[i] + 60;
  return n;
})()"""
PLAYS = """async () => {
  const audio = new Audio((await (await fetch('api/state')).json()).detections
    .filter((d) => d.has_clip).map((d) => `api/clip/${d.number}.wav`).pop());
  await audio.play();
  return audio.duration;
}"""
MOVE_SLIDER = """() => {
  const slider = document.querySelector('.phrase input');
  slider.value = 1;
  slider.dispatchEvent(new Event('input'));
  slider.dispatchEvent(new Event('change'));
}"""
