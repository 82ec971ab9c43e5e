"""The Wyoming server, spoken to by the real `wyoming` client as Home Assistant does, and by worse ones."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import PHRASES, sounds
from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncTcpClient, AsyncUnixClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

import wakeword
from wakeword.audio import SAMPLE_RATE, Samples, as_int16
from wakeword.errors import AudioError, UsageError
from wakeword.listen.events import MICROPHONE, Heard
from wakeword.listen.listener import Listener
from wakeword.listen.settings import (
    ListenSettings,
    MicrophoneSettings,
    ModelSettings,
    WyomingSettings,
)
from wakeword.listen.wyoming_events import PAYLOAD_BYTES, Names, decode_chunk
from wakeword.listen.wyoming_server import WyomingServer, parse_uri, start
from wakeword.listen.wyoming_zeroconf import SERVICE, Announcement, own_addresses

SOUND = sounds(8.0, seed=3)
NAMES = ("hey_nova", "lights_on")


@pytest.fixture(scope="module")
def listener(tiny_model: Path) -> Listener:
    settings = ListenSettings(
        models=(ModelSettings(path=str(tiny_model)),),
        wyoming=WyomingSettings(uri="tcp://127.0.0.1:0", max_clients=10),
    )
    return Listener(settings)


@pytest.fixture(scope="module")
def server(listener: Listener) -> Iterator[WyomingServer]:
    part = start(listener)
    yield part
    part.close()
    part.close()


@pytest.fixture
def expected(tiny_model: Path) -> list[tuple[str, int]]:
    """What a detector alone makes of the sound: name and end of the hop in ms."""
    events = wakeword.load(tiny_model).feed(SOUND)
    assert {event.phrase for event in events} == set(PHRASES), "the sound must hold both"
    return [(event.phrase.replace(" ", "_"), round(1000 * event.time_s)) for event in events]


@asynccontextmanager
async def connected(server: WyomingServer) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient(server.address.host, server.address.port, read_timeout=20) as client:
        yield client


async def stream(
    client: AsyncTcpClient, samples: Samples, rate: int = SAMPLE_RATE, **more: Any
) -> list[tuple[str | None, int | None]]:
    """Send a whole stream; return the detections up to the answer to its end."""
    sending = asyncio.create_task(send(client, samples, rate, **more))
    found = []
    while event := await client.read_event():
        if Detection.is_type(event.type):
            detection = Detection.from_event(event)
            found.append((detection.name, detection.timestamp))
        elif NotDetected.is_type(event.type) or Pong.is_type(event.type):
            break
        elif Error.is_type(event.type):
            raise AssertionError(Error.from_event(event).text)
    await sending
    return found


async def send(
    client: AsyncTcpClient, samples: Samples, rate: int, block: int = 1024, begin_ms: int | None = 0
) -> None:
    await client.write_event(AudioStart(rate, 2, 1).event())
    for i in range(0, len(samples), block):
        timestamp = None if begin_ms is None else begin_ms + 1000 * i // rate
        audio = as_int16(samples[i : i + block]).tobytes()
        await client.write_event(AudioChunk(rate, 2, 1, audio, timestamp).event())
    await client.write_event(AudioStop().event())
    await client.write_event(Ping().event())


def run(work: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 60))


def test_info_names_every_phrase(server: WyomingServer) -> None:
    async def ask() -> Info:
        async with connected(server) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event is not None
            return Info.from_event(event)

    info = run(ask)
    (program,) = info.wake
    assert [(model.name, model.phrase, model.installed) for model in program.models] == [
        ("hey_nova", "hey nova", True),
        ("lights_on", "lights on", True),
    ]
    assert (program.name, program.version) == ("wakeword", wakeword.__version__)


def test_home_assistants_flow(server: WyomingServer, expected: list[tuple[str, int]]) -> None:
    """describe in one connection; detect, audio-start, chunks in another, which ends with the detection."""
    wanted = next(e for e in expected if e[0] == "lights_on")

    async def flow() -> tuple[str | None, int | None]:
        async with connected(server) as client:
            await client.write_event(Detect(names=["lights_on"]).event())
            await client.write_event(AudioStart(SAMPLE_RATE, 2, 1).event())
            audio = asyncio.create_task(send_chunks(client))
            while event := await client.read_event():
                if Detection.is_type(event.type):
                    break
            audio.cancel()
            assert event is not None
            detection = Detection.from_event(event)
            return detection.name, detection.timestamp

    async def send_chunks(client: AsyncTcpClient) -> None:
        for i in range(0, len(SOUND), 320):
            audio = as_int16(SOUND[i : i + 320]).tobytes()
            await client.write_event(AudioChunk(SAMPLE_RATE, 2, 1, audio, 5000 + i // 16).event())

    assert run(flow) == (wanted[0], 5000 + wanted[1])


def test_detections_are_those_of_a_detector(server: WyomingServer, expected: list[tuple[str, int]]) -> None:
    async def all_of_it(block: int, begin_ms: int | None) -> list[Any]:
        async with connected(server) as client:
            return await stream(client, SOUND, block=block, begin_ms=begin_ms)

    heard = [e for e in expected if e[1] <= 8000]
    got = run(lambda: all_of_it(1024, 0))
    assert got[: len(heard)] == heard
    assert run(lambda: all_of_it(4321, None))[: len(heard)] == heard
    later = run(lambda: all_of_it(160, 100_000))
    assert [(name, t - 100_000) for name, t in later[: len(heard)]] == heard


@pytest.mark.parametrize("names, wanted", [(["hey_nova"], "hey_nova"), (["hey nova"], "hey nova")])
def test_only_what_was_asked_for_under_the_name_it_was_asked_by(
    server: WyomingServer, names: list[str], wanted: str
) -> None:
    async def ask() -> list[Any]:
        async with connected(server) as client:
            await client.write_event(Detect(names=names).event())
            return await stream(client, SOUND)

    assert {name for name, _ in run(ask)} == {wanted}


def test_silence_is_not_detected(server: WyomingServer) -> None:
    async def ask() -> tuple[str, list[Any]]:
        async with connected(server) as client:
            await client.write_event(AudioStart(SAMPLE_RATE, 2, 1).event())
            await client.write_event(AudioStop().event())
            event = await client.read_event()
            assert event is not None
            again = await stream(client, SOUND)  # the same connection goes on
            return event.type, again

    kind, again = run(ask)
    assert kind == "not-detected"
    assert again


def test_an_unknown_name_is_an_error_and_never_another_word(server: WyomingServer) -> None:
    async def ask() -> tuple[list[Event], list[Any]]:
        async with connected(server) as client:
            await client.write_event(Detect(names=["hey_nova", "hey_jarvis"]).event())
            events = [await client.read_event()]
            await client.write_event(Detect(names=["hey_nova"]).event())
            mended = await stream(client, SOUND)
            await client.write_event(Detect(names=["hey_jarvis"]).event())
            events.append(await client.read_event())
            with pytest.raises(AssertionError, match="hey_jarvis"):  # an error once more, then the end
                await stream(client, SOUND)
            return [event for event in events if event], mended

    (first, second), mended = run(ask)
    error = Error.from_event(first)
    assert (error.code, "hey_nova, lights_on" in error.text) == ("unknown-wake-word", True)
    assert second.type == "error"
    assert {name for name, _ in mended} == {"hey_nova"}


def test_ping(server: WyomingServer) -> None:
    async def ask() -> Pong:
        async with connected(server) as client:
            await client.write_event(Event("something-new", {"a": 1}, b"xyz"))
            await client.write_event(Ping("tick").event())
            event = await client.read_event()
            assert event is not None
            return Pong.from_event(event)

    assert run(ask).text == "tick"


@pytest.mark.parametrize(
    "rate, width, channels", [(48_000, 2, 2), (44_100, 4, 1), (16_000, 3, 1), (22_050, 1, 2)]
)
def test_other_formats(
    server: WyomingServer, expected: list[tuple[str, int]], rate: int, width: int, channels: int
) -> None:
    import soxr

    sound = soxr.resample(SOUND, SAMPLE_RATE, rate, quality="HQ")
    frames = np.repeat(sound[:, None], channels, axis=1)
    whole = np.clip(
        np.round(frames * 2.0 ** (8 * width - 1)), -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1
    )
    pcm = (whole + 128).astype("u1").tobytes() if width == 1 else b"".join(
        int(v).to_bytes(width, "little", signed=True) for v in whole.reshape(-1)
    )  # fmt: skip

    async def ask() -> list[Any]:
        async with connected(server) as client:
            await client.write_event(AudioStart(rate, width, channels).event())
            size = 2048 * width * channels
            for i in range(0, len(pcm), size):
                await client.write_event(AudioChunk(rate, width, channels, pcm[i : i + size]).event())
            await client.write_event(AudioStop().event())
            await client.write_event(Ping().event())
            found = []
            while (event := await client.read_event()) and event.type != "pong":
                found.append(event.type)
            return found

    found = run(ask)
    # The random tiny model is touchy: after resampling, and in 8 bits, it need not fire at the same hops.
    assert found.count("detection") >= (1 if width == 1 else len(expected) // 2)


def test_pcm_of_every_width() -> None:
    values = np.array([[-1.0, 1.0 - 2**-7], [0.0, 0.5], [-0.5, 0.25]], dtype=np.float64)
    for width in (1, 2, 3, 4):
        whole = np.round(values * 2.0 ** (8 * width - 1)).astype(int).reshape(-1)
        pcm = b"".join(
            bytes([v + 128]) if width == 1 else int(v).to_bytes(width, "little", signed=True) for v in whole
        )
        samples = decode_chunk(AudioChunk(16_000, width, 2, pcm))
        as_floats = samples / 2.0**15 if samples.dtype == np.int16 else samples
        np.testing.assert_allclose(as_floats, values, atol=1e-6)
    for width, channels, audio in ((5, 1, b"12345"), (2, 0, b""), (2, 1, b"123")):
        with pytest.raises(AudioError):
            decode_chunk(AudioChunk(16_000, width, channels, audio))


def test_reference_wav_helper_of_the_package(server: WyomingServer, expected: list[tuple[str, int]]) -> None:
    """The package's own way to send a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setframerate(SAMPLE_RATE), out.setsampwidth(2), out.setnchannels(1)
        out.writeframes(as_int16(SOUND).tobytes())
    file.seek(0)

    async def ask() -> int:
        async with connected(server) as client:
            with wave.open(file, "rb") as wav:
                for part in wav_to_chunks(wav, 1024, start_event=True, stop_event=True):
                    await client.write_event(part.event())
            await client.write_event(Ping().event())
            n = 0
            while (event := await client.read_event()) and event.type != "pong":
                n += event.type == "detection"
            return n

    assert run(ask) >= len(expected)


def test_many_clients_at_once_each_with_its_own_memory(server: WyomingServer) -> None:
    async def one(delay: int) -> list[Any]:
        quiet = np.zeros(delay * 1280, dtype=np.float32)
        async with connected(server) as client:
            return await stream(client, np.concatenate([quiet, SOUND]))

    async def all_of_them() -> list[list[Any]]:
        return await asyncio.gather(*(one(i) for i in range(8)))

    found = run(all_of_them)
    shifted = [[(name, t - 80 * i) for name, t in events] for i, events in enumerate(found)]
    assert all(len(events) >= 2 for events in found)
    late = [[e for e in events if e[1] > 2000] for events in shifted]
    assert late.count(late[0]) == 8


def test_our_own_microphone_is_the_source(server: WyomingServer, listener: Listener) -> None:
    async def ask() -> tuple[list[Any], list[Heard]]:
        async with connected(server) as client, connected(server) as other:
            await client.write_event(Detect().event())
            await client.write_event(Ping().event())
            assert (await client.read_event() or Event("")).type == "pong"
            await other.write_event(Detect(names=["lights_on"]).event())
            await other.write_event(Ping().event())
            assert (await other.read_event() or Event("")).type == "pong"
            own = listener.engine.open(MICROPHONE)
            try:
                heard = await asyncio.get_running_loop().run_in_executor(None, own.feed, SOUND)
            finally:
                own.close()
            got = [Detection.from_event(await client.read_event() or Event("")) for _ in heard]
            lights = [h for h in heard if h.detection.phrase == "lights on"]
            others = [Detection.from_event(await other.read_event() or Event("")) for _ in lights]
            assert {d.name for d in others} == {"lights_on"}
            return [(d.name, d.timestamp) for d in got], heard

    got, heard = run(ask)
    assert got == [(h.detection.phrase.replace(" ", "_"), round(1000 * h.detection.time_s)) for h in heard]


def test_satellites_reach_the_hub(server: WyomingServer, listener: Listener) -> None:
    async def ask() -> list[Any]:
        async with connected(server) as client:
            return await stream(client, SOUND)

    with listener.hub.subscribe("test", Heard) as events:
        found = run(ask)
        heard = [events.get(5) for _ in found]
    assert all(isinstance(h, Heard) and h.stream.startswith("wyoming 127.0.0.1:") for h in heard)
    wait_until(lambda: not listener.engine.streams)


HUGE = json.dumps({"type": "audio-chunk", "payload_length": PAYLOAD_BYTES + 1}).encode() + b"\n"


@pytest.mark.parametrize(
    "sent, reason",
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not JSON"),
        (b"[1, 2]\n", "no JSON object"),
        (b'{"data": {}}\n', "without a type"),
        (b"x" * 200_000, "line of more than"),
        (HUGE, "payload_length"),
        (b'{"type": "ping", "data_length": -5}\n', "data_length"),
        (b'{"type": "ping", "data_length": 99999999999}\n', "data_length"),
        (b'{"type": "ping", "data": 7}\n', "no object"),
        (b'{"type": "ping", "data_length": 2}\n[]', "no JSON object"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b'{"type": "audio-start", "data": {"rate": 16000}}\n', "audio-start lacks"),
        (b'{"type": "audio-start", "data": {"rate": "x", "width": 2, "channels": 1}}\n', "whole number"),
        (b'{"type": "audio-start", "data": {"rate": 1, "width": 2, "channels": 1}}\n', "sample rate"),
        (b'{"type": "detect", "data": {"names": [1]}}\n', "list of texts"),
        (b'{"type": "audio-chunk", "data": {"rate": 16000, "width": 7, "channels": 1}}\n', "bytes"),
        (b'{"type": "audio-chunk", "data": {"rate": [], "width": 2, "channels": 1}}\n', "audio-chunk"),
    ],
)
def test_nonsense_is_answered_with_an_error_and_the_end(
    server: WyomingServer, listener: Listener, sent: bytes, reason: str
) -> None:
    before = listener.hub.problems["wyoming"]
    with socket.create_connection((server.address.host, server.address.port), timeout=10) as peer:
        peer.sendall(sent)
        answer = b""
        while data := peer.recv(65536):
            answer += data
    assert b'"error"' in answer
    assert reason.encode() in answer
    assert listener.hub.problems["wyoming"] == before + 1
    wait_until(lambda: not listener.engine.streams)
    test_ping(server)


def test_a_client_that_vanishes_mid_event(server: WyomingServer, listener: Listener) -> None:
    with socket.create_connection((server.address.host, server.address.port), timeout=10) as peer:
        data = b'"data": {"rate": 16000, "width": 2, "channels": 1}'
        peer.sendall(b'{"type": "audio-start", ' + data + b"}\n")
        peer.sendall(b'{"type": "audio-chunk", ' + data + b', "payload_length": 2048}\n')
        peer.sendall(b"half")
        wait_until(lambda: len(listener.engine.streams) == 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # RST
    wait_until(lambda: not listener.engine.streams)
    test_ping(server)


def test_too_many_clients(server: WyomingServer) -> None:
    async def ask() -> Event | None:
        clients = [connected(server) for _ in range(11)]
        opened = [await client.__aenter__() for client in clients[:10]]
        for client in opened:
            await client.write_event(Ping().event())
            await client.read_event()
        async with clients[10] as one_more:
            answer = await one_more.read_event()
        for client in clients[:10]:
            await client.__aexit__(None, None, None)
        return answer

    answer = run(ask)
    assert answer is not None
    assert "10 clients are served already" in Error.from_event(answer).text


def test_unix_socket_and_port_in_use(tiny_model: Path, tmp_path: Path, listener: Listener) -> None:
    path = Path("/tmp") / f"wakeword-{tmp_path.name}.sock"
    settings = ListenSettings(
        models=(ModelSettings(path=str(tiny_model)),),
        wyoming=WyomingSettings(uri=f"unix://{path}"),
        microphone=MicrophoneSettings(enabled=False),
    )
    listening = Listener(settings)
    part = start(listening)

    async def ask() -> str:
        async with AsyncUnixClient(path, read_timeout=10) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            return event.type if event else ""

    try:
        assert run(ask) == "info"
        with pytest.raises(OSError, match="in use"):
            start(listening)
    finally:
        part.close()
    assert not path.exists()


def test_a_port_in_use_is_an_oserror(listener: Listener, tiny_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        uri = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        settings = ListenSettings(
            models=(ModelSettings(path=str(tiny_model)),), wyoming=WyomingSettings(uri=uri)
        )
        with pytest.raises(OSError):
            start(Listener(settings))


def test_addresses() -> None:
    assert str(parse_uri("tcp://0.0.0.0:10400")) == "tcp://0.0.0.0:10400"
    assert parse_uri("tcp://localhost").port == 10400
    assert parse_uri("unix:///run/w.sock").path == "/run/w.sock"
    for bad in ("", "10400", "http://x:1", "tcp://", "tcp://x:99999", "unix://relative"):
        with pytest.raises(UsageError):
            parse_uri(bad)


def test_names() -> None:
    assert Names(("hey nova", "Größe")).all == ("hey_nova", "größe")
    alike = Names(("Hey Nova", "hey_nova"))
    assert alike.all == ("Hey Nova", "hey_nova")
    assert [alike.phrase(name) for name in (*alike.all, "other")] == ["Hey Nova", "hey_nova", None]


def test_zeroconf_announces_and_takes_back() -> None:
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

    addresses = [a for a in own_addresses() if not a.startswith("127.")]
    if not addresses:
        pytest.skip("no network here but loopback")
    seen: list[tuple[str, str]] = []

    async def look() -> None:
        zeroconf = AsyncZeroconf(interfaces=addresses[:1])

        def changed(zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
            seen.append((state_change.name, name))

        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])
        announcement = await Announcement.make(addresses[0], 10400)
        for _ in range(100):
            if seen:
                break
            await asyncio.sleep(0.1)
        await announcement.close()
        for _ in range(100):
            if len(seen) > 1:
                break
            await asyncio.sleep(0.1)
        await browser.async_cancel()
        await zeroconf.async_close()

    asyncio.run(look())
    assert [state for state, _ in seen] == ["Added", "Removed"]
    assert seen[0][1].startswith("wakeword-") and seen[0][1].endswith(f"-10400.{SERVICE}")


def test_loopback_is_not_announced() -> None:
    with pytest.raises(wakeword.WakewordError, match="not on a network"):
        asyncio.run(Announcement.make("127.0.0.1", 10400))


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within ten seconds")
