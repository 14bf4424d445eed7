"""Addresses: their parts, and the networks that they lead to."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ovseg.errors import DataError, described

PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,252})", re.ASCII)
_SAFE = "/%:=&?~#+!$,;'@()*[]-._"


@dataclass(frozen=True)
class Place:
    """Scheme, host and port of an address, and what follows them.

    >>> place_of("http://Labels:8080/data/a b.png").path
    '/data/a%20b.png'
    """

    scheme: str
    host: str
    port: int
    path: str = "/"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two addresses of one server have in common."""
        return (self.scheme, self.host, self.port)

    @property
    def url(self) -> str:
        """The address as text."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def place_of(url: str) -> Place:
    """The parts of an address.

    Raises:
        DataError: it is no address of HTTP, or has a user's name in it.
    """
    wrong = DataError(f"expected an address that begins with http:// and a host, got {described(url)}")
    if re.search(r"[\x00-\x1f\x7f\\]", url):
        raise wrong
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in PORTS or parts.username is not None or parts.password is not None:
        raise wrong
    if not (_NAME.fullmatch(host) or parse_address(host)):
        raise wrong
    path = quote(parts.path or "/", safe=_SAFE, errors="backslashreplace")
    query = quote(parts.query, safe=_SAFE, errors="backslashreplace")
    return Place(
        parts.scheme,
        host,
        PORTS[parts.scheme] if port is None else port,
        f"{path}?{query}" if query else path,
    )


def connect(addresses: Sequence[str], port: int, seconds: float) -> socket.socket:
    """A connection to the first address that answers: "localhost" often has two, and one server.

    Raises:
        OSError: none does.
    """
    for number, address in enumerate(addresses, 1):
        try:
            return socket.create_connection((address, port), seconds)
        except OSError:
            if number == len(addresses):
                raise
    raise OSError("no address")


def resolve(host: str, port: int) -> list[str]:
    """The addresses that a name has now. Raises OSError where it has none."""
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A text as an address, None where it is a name; IPv4 in the form of IPv6 is IPv4.

    >>> parse_address("::ffff:10.0.0.1"), parse_address("labels.example")
    (IPv4Address('10.0.0.1'), None)
    """
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_public(text: str) -> bool:
    """Whether everybody on the internet can have this address."""
    found = parse_address(text)
    return found is not None and found.is_global and not found.is_multicast


def may_be(text: str, inside: bool) -> bool:
    """Whether a host may have this address: link-local ones, where clouds keep their secrets, none may.

    Args:
        text: the address.
        inside: whether the host may be in a private network, or on this machine.

    >>> may_be("10.0.0.1", True), may_be("10.0.0.1", False), may_be("169.254.169.254", True)
    (True, False, False)
    """
    found = parse_address(text)
    if found is None or found.is_link_local or found.is_multicast or found.is_unspecified:
        return False
    return inside or found.is_global
