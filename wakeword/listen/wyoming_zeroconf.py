"""Announces a Wyoming server on the local network, where Home Assistant finds it by itself."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from wakeword.errors import WakewordError
from wakeword.listen.parts import needs

SERVICE = "_wyoming._tcp.local."


class Announcement:
    """A service that is announced until it is closed."""

    def __init__(self, zeroconf: Any, service: Any) -> None:
        self._zeroconf, self._service = zeroconf, service

    @classmethod
    async def make(cls, host: str, port: int) -> Announcement:
        """Announce a server at that address. WakewordError where others cannot reach it; OSError."""
        with needs("zeroconf", "serve"):
            from zeroconf import InterfaceChoice
            from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

        anywhere = host in ("0.0.0.0", "::", "")
        addresses = own_addresses() if anywhere else [host]
        reachable = [a for a in map(_resolve, addresses) if not ipaddress.ip_address(a).is_loopback]
        if not reachable:
            raise WakewordError(f"{host} is not on a network; serve at tcp://0.0.0.0:{port} to be found")
        name = socket.gethostname().partition(".")[0] or "computer"
        service = AsyncServiceInfo(
            SERVICE,
            f"wakeword-{name}-{port}.{SERVICE}",
            addresses=[ipaddress.ip_address(address).packed for address in reachable],
            port=port,
            server=f"{name}.local.",
        )
        interfaces = InterfaceChoice.All if anywhere else reachable
        zeroconf = AsyncZeroconf(interfaces=interfaces)
        try:
            await zeroconf.async_register_service(service, allow_name_change=True)
        except BaseException:
            await zeroconf.async_close()
            raise
        return cls(zeroconf, service)

    async def close(self) -> None:
        """Take it back."""
        said = await self._zeroconf.async_unregister_service(self._service)
        await said
        await self._zeroconf.async_close()


def own_addresses() -> list[str]:
    """IPv4 addresses of this computer."""
    import ifaddr  # zeroconf needs it

    return [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]


def _resolve(host: str) -> str:
    """The address of a host name; an address is its own."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return socket.gethostbyname(host)
