"""Downloads from named hosts. Where a name leads is checked before a connection is made."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from urllib.parse import urljoin

from ovseg.apps.serve.addresses import PORTS, STEP, Place, connect, is_public, may_be, place_of, resolve
from ovseg.apps.serve.bounds import Deadline
from ovseg.errors import DataError, UsageError, described

REDIRECTS = 3
PART = 1 << 16
TOKEN_LASTS = 240.0
"""Seconds for which an access token is used; Label Studio accepts it for 300."""
IMAGES = re.compile(r"/data/(upload|local-files)/|/(tasks|projects)/\d+/(resolve|presign)/?(\?|$)", re.ASCII)
"""Label Studio's paths of images: uploads, local files, and files of a cloud storage."""


@dataclass(frozen=True)
class _Host:
    """A host that may be asked. Without a port, 80 and 443; ``inside``: it may be in a private network."""

    scheme: str
    name: str
    port: int | None
    inside: bool


class Hosts:
    """Downloads images from the named hosts only.

    Args:
        names: "labels.example.org", "localhost:8080", "http://10.0.0.5:8080"; empty for no downloads. A name
            that leads to the public network now may not lead into a private one later.
        max_bytes: the largest download.
        token: Label Studio's personal access token, which is exchanged for one that lasts minutes, or its
            legacy token. None for the one that Label Studio sends at setup.

    Raises:
        UsageError: a name is not that of a host.

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
        """The first host's address, which is assumed to be Label Studio's until it calls setup."""
        for host in self._hosts[:1]:
            return Place(host.scheme, host.name, host.port or PORTS[host.scheme], "/").url
        return None

    def allows(self, url: str) -> bool:
        """Whether an address belongs to one of the hosts."""
        try:
            return bool(self.check(url))
        except DataError:
            return False

    def check(self, url: str) -> Place:
        """The parts of an address. Raises DataError if it belongs to none of the hosts."""
        place = place_of(url)
        if self._named(place) is None:
            known = ", ".join(f"{one.name}:{one.port}" if one.port else one.name for one in self._hosts)
            raise DataError(
                f"expected an image of {known or 'no host'}, got one of {place.host}:{place.port}"
            )
        return place

    def download(self, url: str, deadline: Deadline, base: str | None = None, token: str = "") -> bytes:
        """The content that an address leads to.

        Args:
            url: an address of one of the hosts.
            deadline: the request's.
            base: Label Studio's address. Only its host gets a token, and only for paths of images.
            token: the one that Label Studio sent at setup; the first host gets the server's own instead.

        Raises:
            DataError: another host, a status other than 200, too many bytes, or no answer in time.
        """
        place = self.check(url)
        studio = self.check(base) if base else None
        for _ in range(REDIRECTS + 1):
            headers = {}
            chosen = self._token if self._token and self._named(place) is self._hosts[0] else token
            is_image = studio is not None and _is_image(place, studio)
            if is_image and chosen:
                headers["Authorization"] = self._authorization(place, chosen, deadline)
            status, content, location = self._ask(place, "GET", headers, b"", deadline)
            if status == 200:
                return content
            if location is None or status not in (301, 302, 303, 307, 308):
                break
            place = self.check(urljoin(place.url, location))
        hint = ""
        if status in (401, 403):
            hint = ": the server needs Label Studio's token (--label-studio-token)"
            if studio is not None and not is_image:
                hint = ": the token is sent to paths of images only"
        raise DataError(f"expected an image of {place.host}:{place.port}, it answered {status}{hint}")

    def _named(self, place: Place) -> _Host | None:
        for one in self._hosts:
            ports = (one.port,) if one.port else tuple(PORTS.values())
            if one.name == place.host and place.port in ports:
                return one
        return None

    def _authorization(self, place: Place, token: str, deadline: Deadline) -> str:
        """The header for a token. A personal token is a JWT: three parts with points between them."""
        if not re.fullmatch(r"[\x21-\x7e]{1,4096}", token):
            raise DataError("expected a token of Label Studio, got other characters")
        if token.count(".") != 2:
            return f"Token {token}"
        key = (place.origin, token)
        with self._lock:
            until, access = self._access.get(key, (0.0, ""))
        if time.monotonic() >= until:
            access = self._refreshed(place, token, deadline)
            with self._lock:
                self._access = {key: (time.monotonic() + TOKEN_LASTS, access)}
        return f"Bearer {access}"

    def _refreshed(self, place: Place, token: str, deadline: Deadline) -> str:
        """A new access token for a personal token."""
        body = json.dumps({"refresh": token}).encode()
        headers = {"Content-Type": "application/json"}
        at = replace(place, path="/api/token/refresh")
        status, content, _ = self._ask(at, "POST", headers, body, deadline)
        try:
            access = json.loads(content)["access"] if status == 200 else None
        except (ValueError, KeyError, TypeError, RecursionError):
            access = None
        if not isinstance(access, str) or not re.fullmatch(r"[\x21-\x7e]{1,8192}", access):
            raise DataError(f"expected Label Studio to take the personal token, it answered {status}")
        return access

    def _ask(
        self, place: Place, method: str, headers: Mapping[str, str], body: bytes, deadline: Deadline
    ) -> tuple[int, bytes, str | None]:
        """Status, content, and the address of a redirect."""
        where = f"{place.host}:{place.port}"
        opened: socket.socket | None = None
        try:
            connection = http.client.HTTPConnection(place.host, place.port)
            opened = self._connect(place, deadline)
            connection.sock = _Timed(opened, deadline)
            connection.request(method, place.path, body or None, dict(headers))
            with connection.getresponse() as answer:
                return answer.status, self._content(answer, where), answer.getheader("location")
        except TimeoutError:
            raise DataError(f"expected an image of {where} in time, it took longer") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise DataError(f"expected an image of {where}, it cannot be asked: {reason}") from None
        finally:
            if opened is not None:
                opened.close()

    def _content(self, answer: http.client.HTTPResponse, where: str) -> bytes:
        parts = bytearray()
        while part := answer.read1(PART):
            parts += part
            if len(parts) > self._max_bytes:
                raise DataError(f"expected an image of at most {self._max_bytes} bytes, {where} sent more")
        return bytes(parts)

    def _connect(self, place: Place, deadline: Deadline) -> socket.socket:
        """A connection to an address that was checked: the name is not looked up a second time."""
        host = self._named(place)
        addresses = resolve(place.host, place.port)
        allowed = [one for one in addresses if host is not None and may_be(one, host.inside)]
        if not allowed:
            raise DataError(f"expected an image of {place.host}, the name leads to a network that it may not")
        plain = connect(allowed, place.port, deadline)
        if place.scheme == "http":
            return plain
        try:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=place.host)
        except BaseException:
            plain.close()
            raise


class _Timed(io.RawIOBase):
    """A socket for ``http.client`` whose every read and write ends by the deadline.

    A socket's own timeout starts anew with each byte, so that headers could drip for days.

    Args:
        opened: a connected socket.
        deadline: the request's.
    """

    def __init__(self, opened: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = opened, deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        """What ``http.client`` reads an answer from."""
        return io.BufferedReader(self, PART)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Wait for some bytes; returns how many came."""
        self._wait()
        return self._socket.recv_into(buffer)

    def sendall(self, content: bytes) -> None:
        """Send a request."""
        self._wait()
        self._socket.sendall(content)

    def close(self) -> None:
        """Do nothing: ``http.client`` closes before it has read the answer."""

    def _wait(self) -> None:
        if not self._deadline.left:
            raise TimeoutError
        self._socket.settimeout(min(STEP, self._deadline.left))


def _is_image(place: Place, studio: Place) -> bool:
    """Whether an address is one of Label Studio's images; its own address may have a path before it."""
    before = studio.path.partition("?")[0].rstrip("/")
    path = place.path.removeprefix(before) if place.path.startswith(f"{before}/") else place.path
    return place.origin == studio.origin and IMAGES.match(path) is not None


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
