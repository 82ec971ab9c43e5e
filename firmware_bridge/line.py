"""A line of bytes to a device: a serial port, or TCP to a serial server, an emulator or a network bridge."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Protocol

from wakeword.errors import DeviceError, UsageError

READ_S = 0.2
"""Longest wait for bytes; nothing may have come then."""
CONNECT_S = 5.0
READ_BYTES = 4096
BAUD = 115_200


class Line(Protocol):
    """Bytes both ways; DeviceError from each once the other end is gone."""

    name: str

    def read(self) -> bytes:
        """What has come, after waiting for at most `READ_S`; nothing if nothing has."""

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def close(self) -> None:
        """Let go; may be called twice."""


class SerialLine:
    """A serial port: /dev/ttyACM0, /dev/ttyUSB0, COM3, a pseudo-terminal."""

    def __init__(self, port: str, baud: int = BAUD) -> None:
        """Open the port for this process alone; DeviceError that says why where it cannot be."""
        import serial

        self.name = port
        try:
            self._port = serial.Serial(
                port, baud, timeout=READ_S, write_timeout=CONNECT_S, exclusive=_exclusive()
            )
        except serial.SerialException as err:
            raise DeviceError(_why_not(port, err)) from err
        except (ValueError, OverflowError) as err:
            raise UsageError(f"--baud {baud}: {err}") from err

    def read(self) -> bytes:
        """Bytes that have come."""
        import serial

        try:
            first: bytes = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else first
        except (serial.SerialException, OSError, TypeError) as err:  # TypeError: closed by another thread
            raise DeviceError(f"{self.name}: the device is gone ({_short(err)})") from err

    def write(self, data: bytes) -> None:
        """Send bytes."""
        import serial

        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as err:
            raise DeviceError(f"{self.name}: cannot be written to ({_short(err)})") from err

    def close(self) -> None:
        """Close the port."""
        self._port.close()


class TcpLine:
    """A TCP connection, to a serial server (ser2net), an emulator, a device with a network."""

    def __init__(self, host: str, port: int) -> None:
        """Connect; DeviceError where nobody answers."""
        self.name = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), CONNECT_S)
        except OSError as err:
            raise DeviceError(f"cannot connect to {self.name}: {_short(err)}; is the device on?") from err
        self._socket.settimeout(READ_S)

    def read(self) -> bytes:
        """Bytes that have come."""
        try:
            data = self._socket.recv(READ_BYTES)
        except TimeoutError:
            return b""
        except OSError as err:
            raise DeviceError(f"{self.name}: the connection broke ({_short(err)})") from err
        if not data:
            raise DeviceError(f"{self.name}: the device closed the connection")
        return data

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._socket.sendall(data)
        except OSError as err:
            raise DeviceError(f"{self.name}: the connection broke ({_short(err)})") from err

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port`; UsageError for anything else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--tcp {text}: give host:port, such as 192.168.1.7:3333")
    return host.strip("[]"), int(port)


def _exclusive() -> bool | None:
    """Serial ports are locked where the system can do it."""
    try:
        import fcntl  # noqa: F401
    except ModuleNotFoundError:
        return None
    return True


def _short(err: BaseException) -> str:
    return (err.strerror if isinstance(err, OSError) and err.strerror else str(err)) or type(err).__name__


def _why_not(port: str, err: OSError) -> str:
    if err.errno == errno.ENOENT or (err.errno is None and not Path(port).exists()):
        return f"no serial port {port}; there are: {', '.join(_ports()) or 'none'}. Is the device plugged in?"
    if err.errno in (errno.EACCES, errno.EPERM):
        return f"no permission for {port}; join its group: sudo usermod -aG dialout $USER, and log in anew"
    if err.errno in (errno.EBUSY, errno.EAGAIN) or "lock" in str(err):
        return f"{port} is in use by another program (a serial monitor?); close that first"
    return f"{port} cannot be opened as a serial port: {_short(err)}"


def _ports() -> list[str]:
    from serial.tools import list_ports

    return sorted(port.device for port in list_ports.comports())
