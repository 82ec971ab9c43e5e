"""MQTT with a real mosquitto: discovery, availability, events; and a broker that comes, goes and refuses."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker import Broker
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from tiny import sounds

from wakeword.audio import Samples
from wakeword.decision import Detection
from wakeword.errors import WakewordError
from wakeword.listen import mqtt
from wakeword.listen.clock import elapsed_s
from wakeword.listen.events import Heard, Reloaded
from wakeword.listen.listener import Listener
from wakeword.listen.mqtt import Mqtt, Topics, discovery, message, start, topic_part
from wakeword.listen.settings import ListenSettings, ModelSettings, MqttSettings

SOUND: Samples = sounds(8.0, seed=3)


class Watcher:
    """Somebody else at the broker: the newest message and all messages of each topic."""

    def __init__(self, broker: Broker, topics: str = "#") -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda c, d, m: self.messages.append((m.topic, m.payload, m.retain))
        subscribed: list[bool] = []
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._client.connect("127.0.0.1", broker.port)
        self._client.subscribe(topics)
        self._client.loop_start()
        wait_until(lambda: bool(subscribed))

    def newest(self, topic: str) -> bytes | None:
        return next((payload for t, payload, _ in reversed(self.messages) if t == topic), None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    yield running
    running.stop()


def a_listener(tiny_model: Path, port: int, **more: Any) -> Listener:
    settings = MqttSettings(host="127.0.0.1", port=port, **more)
    return Listener(ListenSettings(models=(ModelSettings(path=str(tiny_model)),), mqtt=settings))


def heard(phrase: str = "hey nova", at: float | None = None, number: int = 1) -> Heard:
    detection = Detection(phrase, 12.5, 0.98765, 0.5)
    return Heard(number, detection, "tiny", "microphone", time.time() if at is None else at)


def test_discovery_availability_and_events(tiny_model: Path, broker: Broker) -> None:
    broker.start()
    listener = a_listener(tiny_model, broker.port)
    watcher = Watcher(broker)
    part = Mqtt(listener, "Kitchen 1")
    try:
        wait_until(lambda: watcher.newest("wakeword/kitchen_1/status") == b"online")
        config = json.loads(watcher.newest("homeassistant/event/wakeword-kitchen_1/hey_nova/config") or b"")
        assert config["availability_topic"] == "wakeword/kitchen_1/status"
        assert (config["name"], config["event_types"]) == ("hey nova", ["detected"])
        stream = listener.engine.open("kitchen")
        found = stream.feed(SOUND)
        stream.close()
        topics = {"wakeword/kitchen_1/hey_nova", "wakeword/kitchen_1/lights_on"}
        wait_until(lambda: sum(t in topics for t, _, _ in watcher.messages) == len(found))
        got = [json.loads(payload) for topic, payload, _ in watcher.messages if topic in topics]
        assert config["state_topic"] in topics
        assert got == [message(h) for h in found]
    finally:
        part.close()
        part.close()
    wait_until(lambda: watcher.newest("wakeword/kitchen_1/status") == b"offline")
    watcher.close()
    late = Watcher(broker)
    wait_until(lambda: len(late.messages) >= 3)
    assert {topic for topic, _, retained in late.messages if retained} == {
        "wakeword/kitchen_1/status",
        "homeassistant/event/wakeword-kitchen_1/hey_nova/config",
        "homeassistant/event/wakeword-kitchen_1/lights_on/config",
    }, "events are not retained: they would fire again"
    late.close()


def test_a_broker_that_is_down_at_the_start_and_goes_in_between(
    tiny_model: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "RETRY_S", (1, 1))
    listener = a_listener(tiny_model, broker.port)
    part = start(listener)
    try:
        wait_until(lambda: listener.hub.problems["mqtt"] >= 1)
        with monkeypatch.context() as earlier:
            earlier.setattr(mqtt, "elapsed_s", lambda: elapsed_s() - 60)
            listener.hub.publish(heard("hey nova", number=1))  # stale by now
            wait_until(lambda: len(part._waiting) == 1)
        for number in range(2, 200):  # found by a clock that is set on and back: no older for that
            listener.hub.publish(heard("lights on", at=time.time() + 3_600 * (-1) ** number, number=number))
        broker.start()
        watcher = Watcher(broker)
        wait_until(lambda: listener_is_online(watcher, part))
        wait_until(lambda: numbers(watcher, part, "lights on")[-1:] == [199])
        assert numbers(watcher, part, "hey nova") == []
        assert len(numbers(watcher, part, "lights on")) <= 64
        watcher.close()
        before = listener.hub.problems["mqtt"]
        broker.stop()
        wait_until(lambda: listener.hub.problems["mqtt"] > before)
        broker.start()
        watcher = Watcher(broker)
        wait_until(lambda: listener_is_online(watcher, part))
        listener.hub.publish(heard("hey nova", number=300))
        wait_until(lambda: numbers(watcher, part, "hey nova") == [300])
        watcher.close()
    finally:
        part.close()


def listener_is_online(watcher: Watcher, part: Mqtt) -> bool:
    return watcher.newest(part.topics.status) == b"online"


def numbers(watcher: Watcher, part: Mqtt, phrase: str) -> list[int]:
    topic = part.topics.phrase(phrase)
    return [json.loads(payload)["number"] for t, payload, _ in watcher.messages if t == topic]


def test_the_last_will_says_offline(tiny_model: Path, broker: Broker) -> None:
    broker.start()
    part = start(a_listener(tiny_model, broker.port))
    watcher = Watcher(broker)
    wait_until(lambda: listener_is_online(watcher, part))
    connection = part._client.socket()
    assert connection is not None
    part._client.reconnect_delay_set(60, 60)
    connection.shutdown(socket.SHUT_RDWR)  # as a crash would: no farewell
    wait_until(lambda: watcher.newest(part.topics.status) == b"offline")
    part.close()
    watcher.close()


def test_a_phrase_that_is_gone_is_taken_back(tiny_model: Path, broker: Broker) -> None:
    broker.start()
    listener = a_listener(tiny_model, broker.port)
    part, watcher = start(listener), Watcher(broker)
    try:
        wait_until(lambda: listener_is_online(watcher, part))
        gone = str(part.topics.config("old phrase"))
        part._announced.add(gone)
        listener.hub.publish(Reloaded(listener.engine.phrases, listener.engine.thresholds, "test"))
        wait_until(lambda: watcher.newest(gone) == b"")
    finally:
        part.close()
        watcher.close()


def test_password(tiny_model: Path, tmp_path: Path) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("not installed: mosquitto_passwd")
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", passwords, "nova", "secret"], check=True, capture_output=True
    )
    passwords.chmod(0o644)
    broker = Broker(tmp_path, f"password_file {passwords}")
    broker.start()
    try:
        (tmp_path / "good").write_text("secret\n")
        (tmp_path / "bad").write_text("wrong\n")
        refused = a_listener(tiny_model, broker.port, user="nova", password_file=str(tmp_path / "bad"))
        part = start(refused)
        wait_until(lambda: refused.hub.problems["mqtt"] >= 1)
        part.close()
        listener = a_listener(tiny_model, broker.port, user="nova", password_file=str(tmp_path / "good"))
        part = start(listener)
        wait_until(part._client.is_connected)
        part.close()
        assert listener.hub.problems["mqtt"] == 0
        with pytest.raises(WakewordError, match="cannot read the password"):
            start(a_listener(tiny_model, broker.port, user="nova", password_file=str(tmp_path / "none")))
    finally:
        broker.stop()


def test_topics_hold_no_wildcards_or_levels_of_a_phrase() -> None:
    assert topic_part("Hey/Nova +#") == "hey_nova"
    assert len({topic_part(name) for name in ("你好", "再见", "öl", "äl", "l", "")}) == 6
    topics = Topics(MqttSettings(host="x", discovery=""), "pi.local")
    assert topics.config("hey nova") is None
    assert (
        discovery(Topics(MqttSettings(host="x", prefix="a"), "pi"), "x")["unique_id"]
        != discovery(Topics(MqttSettings(host="x", prefix="b"), "pi"), "x")["unique_id"]
    )


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within twenty seconds")
