"""POST each detection as JSON to an address, again after a failure, until it is taken."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import wakeword
from wakeword.errors import UsageError, WakewordError
from wakeword.listen.events import Heard
from wakeword.listen.hub import Hub
from wakeword.listen.settings import WebhookSettings
from wakeword.listen.worker import Group, Worker

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

LONGEST_WAIT_S = 60.0
TEMPORARY = {408, 425, 429}
"""Answers, beside all of 500 and more, after which it is tried again."""


def start(listener: Listener) -> Group:
    """POST to each address from now on."""
    return Group(*(Webhook(listener.hub, settings) for settings in listener.settings.webhooks))


class Webhook:
    """One address. Detections wait while an earlier one is tried again; of too many, the oldest are lost."""

    def __init__(self, hub: Hub, settings: WebhookSettings) -> None:
        """Begin; UsageError for an address that cannot be one."""
        self._hub, self._settings = hub, settings
        self._address = urlsplit(settings.url)
        try:
            self._port = self._address.port
        except ValueError as err:
            raise UsageError(f"webhook: {err}") from err
        if not self._address.hostname or self._address.username:
            raise UsageError("webhook: url needs a host and no user name; put credentials into headers")
        # Not the path: it is often a secret.
        self.name = f"webhook {self._address.scheme}://{self._address.netloc}"
        self._worker = Worker(hub, self.name, self._deliver, settings.phrases)

    def close(self) -> None:
        """Send what waits, once each, for at most two seconds."""
        self._worker.close()

    def _deliver(self, heard: Heard) -> None:
        body = json.dumps(heard.as_dict()).encode()
        for attempt in range(self._settings.tries):
            failure, final = self._post(body)
            if not failure:
                return
            if final:
                raise WakewordError(f"{failure}; this detection is not sent again")
            self._hub.problem(self.name, failure)
            wait_s = min(2.0**attempt, LONGEST_WAIT_S)
            if attempt + 1 < self._settings.tries and self._worker.closing.wait(wait_s):
                break
        raise WakewordError("gave up on a detection that was not taken")

    def _post(self, body: bytes) -> tuple[str, bool]:
        """What went wrong, if anything, and whether there is no use in another try."""
        try:
            status = self._status(body)
        except (OSError, http.client.HTTPException, ValueError) as err:
            if isinstance(err, TimeoutError):
                return f"no answer within {self._settings.timeout_s:g} s", False
            return f"no answer ({getattr(err, 'strerror', None) or err or type(err).__name__})", False
        if 200 <= status < 300:
            return "", False
        return f"answered {status}", status < 500 and status not in TEMPORARY

    def _status(self, body: bytes) -> int:
        """POST once. TimeoutError also where the answer only trickles in."""
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._address.hostname or "", self._port, timeout=self._settings.timeout_s)
        late = threading.Event()

        def cut() -> None:
            late.set()
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._settings.timeout_s, cut)
        timer.daemon = True
        timer.start()
        try:
            connection.request("POST", self._target(), body, self._headers())
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as err:
            if late.is_set():
                raise TimeoutError from err
            raise
        finally:
            timer.cancel()
            connection.close()

    def _target(self) -> str:
        return (self._address.path or "/") + (f"?{self._address.query}" if self._address.query else "")

    def _headers(self) -> dict[str, str]:
        ours = {"Content-Type": "application/json", "User-Agent": f"wakeword/{wakeword.__version__}"}
        return ours | dict(self._settings.headers)
