"""Detections to an MQTT broker, as events that Home Assistant discovers by itself.

    PREFIX/NODE/status                online, offline (the last will)       retained
    PREFIX/NODE/PHRASE                {"event_type": "detected", "score": …} on each detection
    DISCOVERY/event/NODE/PHRASE/config   what Home Assistant reads              retained

paho's thread connects, again and again with growing waits; ours takes detections from the hub. A detection
that cannot be sent soon is dropped: a light that goes on an hour late is worse than one that stays off.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
import zlib
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wakeword
from wakeword.errors import WakewordError
from wakeword.listen.clock import elapsed_s
from wakeword.listen.events import Heard, Reloaded
from wakeword.listen.parts import needs
from wakeword.listen.settings import MqttSettings

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

STALE_S = 10.0
"""Detections older than this are not sent any more."""
WAITING = 64
"""Detections that may wait for the broker; of more, the oldest are dropped."""
KEEPALIVE_S = 15
"""A broker that is silent for one and a half times this is taken for gone."""
RETRY_S = (1, 60)
"""Shortest and longest wait between tries to connect."""
CLOSE_S = 1.0

log = logging.getLogger(__name__)


def topic_part(text: str) -> str:
    """A name as one level of a topic, and as Home Assistant's object id: `hey nova` -> `hey_nova`."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", text.casefold()).strip("_")
    # Letters that are left out must still tell two phrases apart.
    return plain if text.isascii() and plain else f"{plain}_{zlib.crc32(text.encode()):08x}"


class Topics:
    """Where things are published."""

    def __init__(self, settings: MqttSettings, node: str) -> None:
        self.node = topic_part(node)
        self._prefix = settings.prefix.strip("/")
        self._discovery = settings.discovery.strip("/")

    @property
    def device(self) -> str:
        """An id for this listener."""
        return f"{topic_part(self._prefix)}-{self.node}"

    @property
    def status(self) -> str:
        """`online` or `offline`."""
        return f"{self._prefix}/{self.node}/status"

    def phrase(self, phrase: str) -> str:
        """Its detections."""
        return f"{self._prefix}/{self.node}/{topic_part(phrase)}"

    def config(self, phrase: str) -> str | None:
        """Where Home Assistant looks for it; None where discovery is off."""
        if not self._discovery:
            return None
        return f"{self._discovery}/event/{self.device}/{topic_part(phrase)}/config"

    def unique(self, phrase: str) -> str:
        """An id that no other entity has."""
        return f"{self.device}-{topic_part(phrase)}"


def discovery(topics: Topics, phrase: str) -> dict[str, Any]:
    """What Home Assistant must know of a phrase: an event entity of this computer's device."""
    return {
        "name": phrase,
        "unique_id": topics.unique(phrase),
        "state_topic": topics.phrase(phrase),
        "event_types": ["detected"],
        "icon": "mdi:microphone-message",
        "availability_topic": topics.status,
        "device": {
            "identifiers": [topics.device],
            "name": f"Wake words on {topics.node}",
            "manufacturer": "wakeword",
            "sw_version": wakeword.__version__,
        },
        "origin": {"name": "wakeword", "sw_version": wakeword.__version__},
    }


def message(heard: Heard) -> dict[str, Any]:
    """A detection as Home Assistant takes events; all but `event_type` become attributes."""
    who = {"speaker": heard.detection.speaker, "similarity": heard.detection.similarity}
    return {
        "event_type": "detected",
        "phrase": heard.detection.phrase,
        "score": round(heard.detection.score, 4),
        "threshold": round(heard.detection.threshold, 4),
        "model": heard.model,
        "stream": heard.stream,
        "number": heard.number,
        "time": datetime.fromtimestamp(heard.at, timezone.utc).isoformat(timespec="milliseconds"),
        **{k: round(v, 4) if isinstance(v, float) else v for k, v in who.items() if v is not None},
    }


class Mqtt:
    """A connection that comes back, and the thread that feeds it."""

    def __init__(self, listener: Listener, node: str) -> None:
        with needs("paho-mqtt", "serve"):
            from paho.mqtt.client import Client, MQTTv311
            from paho.mqtt.enums import CallbackAPIVersion
        self._listener = listener
        self._settings = listener.settings.mqtt
        self.topics = Topics(self._settings, node)
        self._broker = f"{self._settings.host}:{self._settings.port}"
        self._waiting: deque[tuple[float, Heard]] = deque(maxlen=WAITING)
        """With when they came, see `elapsed_s`."""
        self._announced: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=self._client_id(), protocol=MQTTv311)
        self._set_up_client()
        self._events = listener.hub.subscribe("mqtt", Heard, Reloaded, size=WAITING)
        self._thread = threading.Thread(target=self._follow, name="mqtt", daemon=True)
        self._thread.start()
        self._client.connect_async(self._settings.host, self._settings.port, KEEPALIVE_S)
        self._client.loop_start()

    def close(self) -> None:
        """Say offline and hang up."""
        if self._closed:
            return
        self._closed = True
        self._events.close()
        self._thread.join(CLOSE_S)
        if self._client.is_connected():
            self._client.publish(self.topics.status, "offline", qos=1, retain=True).wait_for_publish(CLOSE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _client_id(self) -> str:
        # Brokers hang up on the older of two clients with the same id.
        return (
            f"wakeword-{self.topics.node}-{topic_part(self._settings.prefix)}-{time.time_ns() & 0xFFFFFF:x}"
        )

    def _set_up_client(self) -> None:
        client, settings = self._client, self._settings
        client.will_set(self.topics.status, "offline", qos=1, retain=True)
        client.reconnect_delay_set(*RETRY_S)
        client.max_queued_messages_set(4 * WAITING)
        client.on_connect, client.on_connect_fail = self._on_connect, self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        if settings.user:
            client.username_pw_set(settings.user, self._password())
        if settings.tls:
            client.tls_set()

    def _password(self) -> str | None:
        if not self._settings.password_file:
            return None
        path = self._listener.folder / Path(self._settings.password_file).expanduser()
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as err:
            raise WakewordError(f"cannot read the password of MQTT in {path}: {err}") from err

    def _follow(self) -> None:
        """Runs in our thread."""
        for event in self._events:
            if isinstance(event, Heard):
                self._waiting.append((elapsed_s(), event))
                self._send_waiting()
            elif self._client.is_connected():
                self._announce()

    def _send_waiting(self) -> None:
        with self._lock:
            while self._waiting and self._client.is_connected():
                came_s, heard = self._waiting.popleft()
                if elapsed_s() - came_s > STALE_S:
                    continue
                payload = json.dumps(message(heard), ensure_ascii=False)
                self._client.publish(self.topics.phrase(heard.detection.phrase), payload, qos=1)

    def _announce(self) -> None:
        """Describe all phrases, and take back those that are gone."""
        wanted = {topic: phrase for phrase in self._listener.engine.phrases
                  if (topic := self.topics.config(phrase))}  # fmt: skip
        with self._lock:
            gone, self._announced = self._announced - set(wanted), set(wanted)
        for topic in gone:
            self._client.publish(topic, "", qos=1, retain=True)
        for topic, phrase in wanted.items():
            payload = json.dumps(discovery(self.topics, phrase), ensure_ascii=False)
            self._client.publish(topic, payload, qos=1, retain=True)

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        """Runs in paho's thread, as those below."""
        if reason.is_failure:
            self._listener.hub.problem("mqtt", f"{self._broker} refuses us: {reason}")
            return
        self._listener.hub.solved("mqtt", f"connected to {self._broker}")
        self._announce()
        client.publish(self.topics.status, "online", qos=1, retain=True)
        self._send_waiting()

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        if not self._closed:
            self._listener.hub.problem("mqtt", f"cannot reach {self._broker}; trying again and again")

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._closed:
            self._listener.hub.problem("mqtt", f"lost {self._broker}; connecting again")


def start(listener: Listener) -> Mqtt:
    """Publish for as long as the listener runs; see `wakeword.listen.parts`."""
    return Mqtt(listener, socket.gethostname().partition(".")[0] or "computer")
