"""Who may come in: hosts, origins, keys and sizes, checked before any other code sees a request."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from brushloop.errors import InputError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "brushloop_key"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
RATE = "600/minute"
"""Requests of a key, unless told otherwise: ten a second is more than a page asks, and less than a flood."""


@dataclass(frozen=True)
class Rules:
    """What is let in."""

    hosts: tuple[str, ...] = LOOPBACK
    """Names that a request may call this server by; a page elsewhere that rebinds its name to us has another."""
    origins: tuple[str, ...] = ()
    """Web origins (`https://example.org`) that may call besides the server's own."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """API keys by owner; none means that no key is asked for. The owner "" sees what everyone made."""
    upload: int = 20_000_000
    """Most bytes of a request's body."""
    rate: str = ""
    """Most requests of each owner, such as `600/minute` (as the package `limits` writes it); "" for no limit. A caller
    without a valid key counts by address."""

    def owner_of(self, key: str) -> str | None:
        """Whose key it is; None if it is nobody's."""
        found = None
        for owner, known in self.keys.items():
            if hmac.compare_digest(known.encode(), key.encode("utf-8", "surrogateescape")):
                found = owner
        return found


def rules_for(
    host: str, keys: Sequence[str], hosts: Sequence[str], origins: Sequence[str], upload: int, rate: str | None = None
) -> Rules:
    """The rules of a server that listens on `host`. Keys are written `secret`, or `owner=secret`.

    Without a `rate`, whoever needs a key may ask `RATE` times.

    Raises:
        InputError: it would be open to others without a key, a key is too short, or the rate is none.
    """
    named = dict((key.partition("=")[::2] if "=" in key else ("", key)) for key in keys)
    if any(len(secret) < 16 for secret in named.values()):
        raise InputError("an API key is shorter than 16 characters: take a longer one (openssl rand -hex 24 makes one)")
    if not is_loopback(host) and not named:
        raise InputError(
            f"listening on {host} lets others in: set an API key (BRUSHLOOP_API_KEY), or listen on 127.0.0.1"
        )
    rate = rate if rate is not None else RATE if named else ""
    try:
        limits.parse_many(rate) if rate else ()
    except ValueError:
        raise InputError(f"{rate[:40]!r} is no rate: write for example 600/minute, or '' for no limit") from None
    own = () if host in ("0.0.0.0", "::") else (host,)
    return Rules((*LOOPBACK, *own, *hosts), tuple(origins), named, upload, rate)


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _TooLarge(Exception):
    """A body went over the limit while it was read."""


class Guard:
    """ASGI middleware that holds requests to `Rules`; the owner is left in `request.state.owner`."""

    def __init__(self, app: ASGIApp, rules: Rules, open_paths: Sequence[str] = ()) -> None:
        self.app, self.rules, self.open_paths = app, rules, tuple(open_paths)
        self._rates = limits.parse_many(rules.rate) if rules.rate else []
        self._asked = MovingWindowRateLimiter(MemoryStorage()) if self._rates else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        owner, refusal = self._admit(scope, headers)
        if self._asked and (wait := self._too_often(scope, owner, refusal)) is not None:
            refusal = 429, "rate", f"more than {self.rules.rate} requests: wait {wait} s, and ask again"
            await _answer(send, *refusal, wait)
            return
        if refusal is not None:
            await _answer(send, *refusal)
            return
        scope.setdefault("state", {})["owner"] = owner
        read, began = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.rules.upload:
                raise _TooLarge
            return message

        async def noticed(message: Message) -> None:
            nonlocal began
            if not began and read > self.rules.upload:  # whatever the application makes of a body that broke off
                return
            began = True
            await send(message)

        with contextlib.suppress(_TooLarge):
            await self.app(scope, counted, noticed)
        if read > self.rules.upload and not began:
            await _answer(send, *self._too_large())

    def _admit(self, scope: Scope, headers: Mapping[str, str]) -> tuple[str, tuple[int, str, str] | None]:
        host = _hostname(headers.get("host", ""))
        if host not in self.rules.hosts and "*" not in self.rules.hosts:
            return "", (421, "host", f"this server is not known as {host[:80]!r}: allow it with --allow-host")
        origin = headers.get("origin")
        if origin and origin.partition("://")[2] != headers.get("host") and origin not in self.rules.origins:
            return "", (403, "origin", f"pages of {origin[:80]!r} may not call this server: see --allow-origin")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return "", (400, "input", "the Content-Length is not a number")
        if int(length[:20]) > self.rules.upload:
            return "", self._too_large()
        if not self.rules.keys or scope["path"] in self.open_paths:
            return "", None
        owner = self.rules.owner_of(_key_in(headers))
        if owner is None:
            return "", (401, "key", "no valid API key: send the header Authorization: Bearer <key>")
        return owner, None

    def _too_often(self, scope: Scope, owner: str, refusal: tuple[int, str, str] | None) -> int | None:
        """Seconds to wait, if this is one request too many: whoever guesses keys is counted by where they are."""
        assert self._asked
        address = (scope.get("client") or ("",))[0]
        known = self.rules.keys and refusal is None and scope["path"] not in self.open_paths
        who = ("owner", owner) if known else ("address", address)
        for rate in self._rates:
            if not self._asked.hit(rate, *who):
                return max(1, math.ceil(self._asked.get_window_stats(rate, *who).reset_time - time.time()))
        return None

    def _too_large(self) -> tuple[int, str, str]:
        return 413, "too_large", f"the request is larger than {self.rules.upload} bytes: send a smaller picture"


def failure(code: str, message: str, param: str | None = None) -> dict[str, object]:
    """The body of every error: OpenAI's shape, our codes."""
    kind = "server_error" if code in ("unexpected", "model", "store") else "invalid_request_error"
    return {"error": {"code": code, "message": message, "type": kind, "param": param}}


async def _answer(send: Send, status: int, code: str, message: str, wait: int | None = None) -> None:
    body = json.dumps(failure(code, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if wait is not None:
        headers.append((b"retry-after", str(wait).encode()))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _key_in(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
