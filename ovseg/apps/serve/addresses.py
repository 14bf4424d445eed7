"""Addresses: their parts, and the networks they lead to."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from ovseg.apps.serve.bounds import Deadline
from ovseg.errors import DataError, described

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
STEP = 10.0
"""Seconds for a connection, and for each part of an answer."""
PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,252})", re.ASCII)
_SAFE = "/%:=&?~#+!$,;'@()*[]-._"
SECRETS = {ipaddress.ip_address(one) for one in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")}
"""Where clouds keep their secrets, besides link-local addresses."""
NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
WITH_IPV4 = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("64:ff9b::/96"), NAT64_LOCAL)
"""Networks whose addresses end with one of IPv4: IPv4-compatible, and the two of NAT64."""
LONGEST_URL = 8192
NESTED = 4
"""Percent codes in percent codes that are looked through."""
ISATAP = 0x5EFE
"""The 32 bits before the IPv4 address at the end of an ISATAP address, without the universal bit."""


@dataclass(frozen=True)
class Place:
    """An address: scheme, host, port, and the path with its query.

    >>> place_of("http://Labels:8080/data/a b.png").path
    '/data/a%20b.png'
    """

    scheme: str
    host: str
    port: int
    path: str = "/"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port, which the addresses of one server share."""
        return (self.scheme, self.host, self.port)

    @property
    def url(self) -> str:
        """The address as text."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def place_of(url: str) -> Place:
    """The parts of an address.

    Raises:
        DataError: it is no address of HTTP, has a user's name in it, or leads upwards in its path.
    """
    wrong = DataError(f"expected an address that begins with http:// and a host, got {described(url)}")
    if len(url) > LONGEST_URL:
        raise DataError(f"expected an address of at most {LONGEST_URL} characters, got {len(url)}")
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
    if ".." in re.split(r"[/\\]", _decoded(parts.path)):
        raise DataError(f"expected an address without '..' in its path, got {described(url)}")
    path = quote(parts.path or "/", safe=_SAFE, errors="backslashreplace")
    query = quote(parts.query, safe=_SAFE, errors="backslashreplace")
    return Place(
        parts.scheme,
        host,
        PORTS[parts.scheme] if port is None else port,
        f"{path}?{query}" if query else path,
    )


def _decoded(path: str) -> str:
    """A path without percent codes, however often they are nested: some servers decode it twice."""
    for _ in range(NESTED):
        path = unquote(path)
    return path


def connect(addresses: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
    """A connection to the first address that answers: "localhost" often has two, and a server on one.

    Raises:
        OSError: none answers in time.
    """
    for number, address in enumerate(addresses, 1):
        try:
            return socket.create_connection((address, port), min(STEP, max(0.01, deadline.left)))
        except OSError:
            if number == len(addresses) or not deadline.left:
                raise
    raise OSError("no address")


def resolve(host: str, port: int) -> list[str]:
    """The present addresses of a name. Raises OSError if it has none."""
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def parse_address(text: str) -> Address | None:
    """A text as an address; None if it is a name.

    >>> parse_address("10.0.0.1"), parse_address("labels.example")
    (IPv4Address('10.0.0.1'), None)
    """
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def destinations(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses inside it that a gateway or the system may send packets to.

    >>> [str(one) for one in destinations(ipaddress.ip_address("64:ff9b::a9fe:a9fe"))]
    ['64:ff9b::a9fe:a9fe', '169.254.169.254']
    """
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    bits = int(address)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in WITH_IPV4) or bits >> 32 & 0xFDFFFFFF == ISATAP:
        inner.append(ipaddress.IPv4Address(bits & 0xFFFFFFFF))
    if address in NAT64_LOCAL:  # after a prefix of 48 bits the IPv4 address is split by eight bits
        inner.append(ipaddress.IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF))
    return [address, *(one for one in inner if one is not None)]


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet.

    >>> is_public("93.184.215.14"), is_public("2002:7f00:1::1")
    (True, False)
    """
    found = parse_address(text)
    if found is None:
        return False
    reached = destinations(found)
    return all(one.is_global and not one.is_multicast for one in reached[1:] or reached)


def may_be(text: str, inside: bool) -> bool:
    """Whether a host may have this address. Link-local ones, where clouds keep their secrets, are refused.

    Args:
        text: the address.
        inside: whether the host may be in a private network, or on this machine.

    >>> may_be("10.0.0.1", True), may_be("10.0.0.1", False), may_be("169.254.169.254", True)
    (True, False, False)
    """
    found = parse_address(text)
    if found is None:
        return False
    reached = destinations(found)
    if any(one.is_link_local or one.is_multicast or one.is_unspecified or one in SECRETS for one in reached):
        return False
    return inside or is_public(text)
