"""Downloads from named hosts only: where an address leads is decided before a connection is made."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from urllib.parse import urljoin

from ovseg.apps.serve.addresses import PORTS, Place, connect, is_public, may_be, place_of, resolve
from ovseg.apps.serve.bounds import Deadline
from ovseg.errors import DataError, UsageError, described

REDIRECTS = 3
PART = 1 << 16
CONNECT = 10.0
"""Seconds for a connection, and for each part of an answer."""
TOKEN_LASTS = 240.0
"""Seconds for which an access token is used; Label Studio lets it live for 300."""


@dataclass(frozen=True)
class _Host:
    """A host that may be asked; ``port`` None stands for the usual ones, ``inside`` for a private network."""

    scheme: str
    name: str
    port: int | None
    inside: bool


class Hosts:
    """The hosts that pictures may be downloaded from, and nothing else.

    Args:
        names: "labels.example.org", "localhost:8080", "http://10.0.0.5:8080"; none: no downloads at all. A
            host that leads to the public network now may not lead into a private one later.
        max_bytes: of what is downloaded.
        token: Label Studio's: a personal access token, which is exchanged for one that lasts minutes, or a
            legacy token. Without it, the one that Label Studio sends at setup.

    Raises:
        UsageError: a name is none of a host.

    >>> Hosts(["localhost:8080"]).check("http://elsewhere:8080/a.png")
    Traceback (most recent call last):
    ...
    ovseg.errors.DataError: expected an image of localhost:8080, got one of elsewhere:8080
    """

    def __init__(
        self, names: Sequence[str] = (), max_bytes: int = 32 << 20, token: str | None = None
    ) -> None:
        self._hosts = [_host(name) for name in names]
        self._max_bytes = max_bytes
        self._token = token
        self._lock = Lock()
        self._access: dict[tuple[tuple[str, str, int], str], tuple[float, str]] = {}

    @property
    def first(self) -> str | None:
        """The address of the first host, where Label Studio is taken to be before it has called."""
        for host in self._hosts[:1]:
            return Place(host.scheme, host.name, host.port or PORTS[host.scheme], "/").url
        return None

    def allows(self, url: str) -> bool:
        """Whether an address is one of the hosts'."""
        try:
            return bool(self.check(url))
        except DataError:
            return False

    def check(self, url: str) -> Place:
        """The parts of an address of one of the hosts.

        Raises:
            DataError: it is another host's.
        """
        place = place_of(url)
        if self._named(place) is None:
            known = ", ".join(f"{one.name}:{one.port}" if one.port else one.name for one in self._hosts)
            raise DataError(
                f"expected an image of {known or 'no host'}, got one of {place.host}:{place.port}"
            )
        return place

    def download(self, url: str, deadline: Deadline, base: str | None = None, token: str = "") -> bytes:
        """What an address leads to.

        Args:
            url: an address of one of the hosts.
            deadline: of the request that it is for.
            base: Label Studio's address: its host alone gets a token.
            token: what Label Studio sent at setup. The first host gets the server's own in its place.

        Raises:
            DataError: another host, an answer that is no success, or is too large, or not there in time.
        """
        place = self.check(url)
        origin = self.check(base).origin if base else None
        for _ in range(REDIRECTS + 1):
            headers = {}
            chosen = self._token if self._token and self._named(place) is self._hosts[0] else token
            if place.origin == origin and chosen:
                headers["Authorization"] = self._authorization(place, chosen, deadline)
            status, content, location = self._ask(place, "GET", headers, b"", deadline)
            if status == 200:
                return content
            if location is None or status not in (301, 302, 303, 307, 308):
                break
            place = self.check(urljoin(place.url, location))
        hint = (
            ": the server needs Label Studio's token (--label-studio-token)" if status in (401, 403) else ""
        )
        raise DataError(f"expected an image of {place.host}:{place.port}, it answered {status}{hint}")

    def _named(self, place: Place) -> _Host | None:
        for one in self._hosts:
            ports = (one.port,) if one.port else tuple(PORTS.values())
            if one.name == place.host and place.port in ports:
                return one
        return None

    def _authorization(self, place: Place, token: str, deadline: Deadline) -> str:
        """A personal token is a JWT, of three parts with points between them."""
        if not re.fullmatch(r"[\x21-\x7e]{1,4096}", token):
            raise DataError("expected a token of Label Studio, got other characters")
        if token.count(".") != 2:
            return f"Token {token}"
        key = (place.origin, token)
        with self._lock:
            until, kept = self._access.get(key, (0.0, ""))
            if time.monotonic() < until:
                return f"Bearer {kept}"
            body = json.dumps({"refresh": token}).encode()
            headers = {"Content-Type": "application/json"}
            path = replace(place, path="/api/token/refresh")
            status, content, _ = self._ask(path, "POST", headers, body, deadline)
            try:
                access = json.loads(content)["access"] if status == 200 else None
            except (ValueError, KeyError, TypeError, RecursionError):
                access = None
            if not isinstance(access, str) or not re.fullmatch(r"[\x21-\x7e]{1,8192}", access):
                raise DataError(f"expected Label Studio to take the personal token, it answered {status}")
            self._access = {key: (time.monotonic() + TOKEN_LASTS, access)}
            return f"Bearer {access}"

    def _ask(
        self, place: Place, method: str, headers: Mapping[str, str], body: bytes, deadline: Deadline
    ) -> tuple[int, bytes, str | None]:
        """Status, content and the place that a redirect leads to."""
        where = f"{place.host}:{place.port}"
        connection: http.client.HTTPConnection | None = None
        try:
            connection = http.client.HTTPConnection(place.host, place.port)
            connection.sock = self._connect(place, deadline)
            connection.request(method, place.path, body or None, dict(headers))
            with connection.getresponse() as answer:
                return answer.status, self._content(answer, where, deadline), answer.getheader("location")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise DataError(f"expected an image of {where}, it cannot be asked: {reason}") from None
        finally:
            if connection is not None:
                connection.close()

    def _content(self, answer: http.client.HTTPResponse, where: str, deadline: Deadline) -> bytes:
        parts = bytearray()
        while part := answer.read1(PART):
            parts += part
            if len(parts) > self._max_bytes:
                raise DataError(f"expected an image of at most {self._max_bytes} bytes, {where} sent more")
            if not deadline.left:
                raise DataError(f"expected an image of {where} in time, it took longer")
        return bytes(parts)

    def _connect(self, place: Place, deadline: Deadline) -> socket.socket:
        """A connection to an address that was looked at: nobody can change the name's meaning in between."""
        host = self._named(place)
        addresses = resolve(place.host, place.port)
        allowed = [one for one in addresses if host is not None and may_be(one, host.inside)]
        if not allowed:
            raise DataError(f"expected an image of {place.host}, the name leads to a network that it may not")
        plain = connect(allowed, place.port, max(0.1, min(CONNECT, deadline.left)))
        if place.scheme == "http":
            return plain
        try:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=place.host)
        except BaseException:
            plain.close()
            raise


def _host(name: str) -> _Host:
    text = name.strip()
    try:
        place = place_of(text if "://" in text else f"http://{text}")
    except DataError:
        raise UsageError(f"expected a host such as localhost:8080, got {described(name)}") from None
    if place.path != "/":
        raise UsageError(f"expected a host such as localhost:8080 without a path, got {described(name)}")
    port = place.port if re.search(r":\d+/?$", text) else None
    try:
        inside = not all(is_public(one) for one in resolve(place.host, place.port))
    except OSError:  # it has no address yet
        inside = False
    return _Host(place.scheme, place.host, port, inside)
