"""Pictures by URL: off unless `BRUSHLOOP_URLS=1`, and then from public addresses only.

Who asks for a URL lets this machine ask for it, which may see more than they do: other machines beside it, a cloud's
metadata, its own ports. So a name is looked up once, every address it has must be a public one, the connection goes
to the address that was looked at (a name that means something else a moment later changes nothing), and a redirect
is an answer like any other that is no picture. Proxies of the environment are not used: they would look up again.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from brushloop.errors import InputError

VARIABLE = "BRUSHLOOP_URLS"
SECONDS = 10.0
"""For all of it: looking up apart, from the first byte sent to the last one read."""

_URL = re.compile(r"(https?):/+(?=[^/])", re.IGNORECASE)
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
"""All that was ever given out of IPv6; what else there is, is local, a group, or a translation."""
_NOT_THERE = [ipaddress.ip_network(net) for net in ("2002::/16", "2001::/32", "192.0.0.0/24", "192.88.99.0/24")]
"""Tunnels that lead on to an IPv4 address, and what older Pythons take for global."""


def is_url(text: str) -> bool:
    """Whether something is asked for by `http://` or `https://` (or `https:/`, which a path makes of it)."""
    return _URL.match(text) is not None


def fetch(url: str, most: int) -> bytes:
    """The bytes behind a URL, at most `most` and one more: whoever gets one more knows that it was too long.

    Raises:
        InputError: URLs are off, it is none, it leads to an address that is not public, or nothing good came back.
    """
    told = url[:80]
    if os.environ.get(VARIABLE) != "1":
        raise InputError(f"{told} is a URL, and those are not fetched: send the file, or set {VARIABLE}=1")
    try:
        parts = urlsplit(_URL.sub(r"\1://", url, count=1))
        host, port = parts.hostname or "", parts.port
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.username is not None or not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError("it holds a user, or characters that belong escaped")
    except ValueError as error:
        raise InputError(f"{told!r} is no URL that can be fetched: {error}") from None
    secure = parts.scheme.lower() == "https"
    address = public_address(host, port or (443 if secure else 80))
    connection = http.client.HTTPConnection(host, port)
    try:
        with (
            socket.create_connection(address, SECONDS) as plain,
            _secured(plain, host) if secure else plain as line,
            _hanging_up(line, SECONDS),
        ):
            connection.sock = line
            connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "brushloop"})
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise InputError(f"{told} answers {answer.status}: give the URL of the picture itself")
                return answer.read(most + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{told!r} cannot be fetched ({said}): send the file") from error
    finally:
        connection.close()


def public_address(host: str, port: int) -> tuple[str, int]:
    """The address to connect to. A name with one address that is not public is refused, whatever others it has.

    Raises:
        InputError: it is not known, or not public.
    """
    try:
        found = socket.getaddrinfo(host.encode("idna").decode(), port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise InputError(f"there is no host {host[:80]!r}: check the URL, or send the file") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise InputError(f"{host[:80]!r} is not on the public network, and is not fetched from: send the file")
    return addresses[0], port


def is_public(address: str) -> bool:
    """Whether an address is anybody's: not of this machine, its network, a link, a group, or a way to one of them."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:  # with a zone, so of a link
        return False
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped:
            return is_public(str(known.ipv4_mapped))
        if known not in _GIVEN_OUT:
            return False
    if any(known in network for network in _NOT_THERE):
        return False
    return known.is_global and not known.is_multicast and not known.is_reserved


def _secured(plain: socket.socket, host: str) -> ssl.SSLSocket:
    """With TLS, from the first byte on; the certificate must be that of the name that was asked for."""
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)


@contextlib.contextmanager
def _hanging_up(line: socket.socket, seconds: float) -> Iterator[None]:
    """Hang up after so long, however slowly the other side goes on."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
