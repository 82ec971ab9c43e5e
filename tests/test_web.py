"""The web server: state, events, metrics, health and tuning."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile
from local_servers import wait_until
from prometheus_client.parser import text_string_to_metric_families
from tiny import PHRASES
from web_site import SOUND, Site, a_site, get, hear, post, run

from wakeword.config import load_config
from wakeword.listen.events import MICROPHONE, Lost, SourceState
from wakeword.listen.listener import Listener
from wakeword.listen.metrics import Peaks, source_of
from wakeword.listen.settings import ListenSettings, ModelSettings, WebSettings
from wakeword.listen.web import MAX_FOLLOWERS, start


@pytest.fixture(scope="module")
def site(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with a_site(tiny_model, tmp_path_factory.mktemp("site")) as one:
        yield one


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
