"""Tells systemd that the listener is ready and alive: datagrams to the socket that $NOTIFY_SOCKET names.

Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html. A listener whose loop no
longer turns stops feeding the watchdog, and systemd starts it anew.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wakeword.errors import WakewordError

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

STUCK_S = 10.0
"""A loop that has not turned for this long is stuck: its source gives a block every 20 to 100 ms."""

log = logging.getLogger(__name__)


class Systemd:
    """The socket to the service manager."""

    def __init__(self, address: str) -> None:
        """Take the value of $NOTIFY_SOCKET: a path, or `@` and an abstract name. WakewordError for others."""
        if not address.startswith(("/", "@")) or len(address) < 2:
            raise WakewordError(f"NOTIFY_SOCKET is {address!r}; it must be a path or begin with @")
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def tell(self, **state: str | int) -> bool:
        """Send assignments such as READY=1; False, logged for debugging only, where nobody takes them."""
        message = "\n".join(f"{key}={value}" for key, value in state.items())
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as err:
            log.debug("systemd does not take %s: %s", next(iter(state)), err)
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How often the manager wants a sign of life, in seconds; None = it does not, or from another process."""
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6


class Notifier:
    """READY at the start, a sign of life while the loop turns, STOPPING at the end."""

    def __init__(self, listener: Listener, systemd: Systemd, every_s: float | None) -> None:
        self._listener, self._systemd = listener, systemd
        self._every_s = every_s
        self._closed = threading.Event()
        systemd.tell(READY=1, STATUS=f"listening for {', '.join(listener.engine.phrases)}")
        self._thread = threading.Thread(target=self._watch, name="systemd", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say that the service is stopping."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join(2)
        self._systemd.tell(STOPPING=1)
        self._systemd.close()

    def _watch(self) -> None:
        if self._every_s is None:
            return
        # Half the time asked for, as sd_watchdog_enabled(3) recommends.
        while not self._closed.wait(self._every_s / 2):
            age_s = time.monotonic() - self._listener.turned_s
            if age_s < STUCK_S:
                self._systemd.tell(WATCHDOG=1)
            else:
                self._systemd.tell(STATUS="stuck: the loop does not turn")


def start(listener: Listener) -> Notifier:
    """Report to systemd for as long as the listener runs; see `wakeword.listen.parts`."""
    systemd = Systemd(os.environ["NOTIFY_SOCKET"])
    return Notifier(listener, systemd, watchdog_s(os.environ))
