"""Who may talk to the web server: the right host name, the right origin and, off loopback, a token.

A server on loopback is within reach of every web page that the user's browser shows. What keeps those out:
the Host header must name this computer (no DNS rebinding), requests of other origins are refused, and what
changes anything takes JSON only.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from wakeword.errors import WakewordError

COOKIE = "wakeword_token"
MIN_TOKEN = 16
"""Characters: fewer can be guessed."""
OPEN = ("/health",)
"""Paths that need no token: a container's health check has none."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether an address or host name is this computer's own."""
    name = host.strip("[]").casefold()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def read_token(path: Path | None, host: str) -> str | None:
    """The token of a file; WakewordError where it is missing or short, or needed and not given."""
    if path is None:
        if is_loopback(host):
            return None
        raise WakewordError(
            f"serving on {host} needs a token: put {MIN_TOKEN} characters or more into a file "
            "and name it as token_file"
        )
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise WakewordError(f"cannot read the token in {path}: {err}") from err
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise WakewordError(f"the token in {path} must be {MIN_TOKEN} or more letters and digits")
    return token


@dataclass(frozen=True)
class Guard:
    """The rules for one server."""

    host: str
    """Address it serves on."""
    token: str | None

    def middleware(self) -> Middleware:
        """For an aiohttp application."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._check_host(request)
            self._check_origin(request)
            if given := request.query.get("token"):
                return self._log_in(request, given)
            self._check_token(request)
            return await handler(request)

        return check

    def _check_host(self, request: web.Request) -> None:
        name = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
        # Elsewhere the token does it: a page under another name does not get our cookie.
        if is_loopback(self.host) and not is_loopback(name):
            raise web.HTTPForbidden(text=f"this server is not called {name!r}; use localhost\n")

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
            raise web.HTTPForbidden(text="requests of other web pages are refused\n")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(text="requests of other web pages are refused\n")
        if request.method == "POST" and request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="only application/json is taken\n")

    def _check_token(self, request: web.Request) -> None:
        if self.token is None or request.path in OPEN:
            return
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not any(self._fits(given) for given in (bearer, request.cookies.get(COOKIE, ""))):
            raise web.HTTPUnauthorized(
                text="a token is needed: open /?token=TOKEN, or send Authorization: Bearer TOKEN\n",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _log_in(self, request: web.Request, given: str) -> web.StreamResponse:
        """Keep the token as a cookie, and take it out of the address."""
        if self.token is not None and not self._fits(given):
            raise web.HTTPUnauthorized(text="this is not the token\n")
        answer = web.Response(status=302, headers={"Location": request.path})
        if self.token is not None:
            answer.set_cookie(COOKIE, given, httponly=True, samesite="Strict", max_age=365 * 86_400)
        return answer

    def _fits(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Headers of every answer, for `on_response_prepare`."""
    response.headers.update(HEADERS)
