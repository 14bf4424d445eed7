"""The image that a request names: a data URI, a file below one folder, or a download from a named host."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from ovseg.apps.serve.addresses import LONGEST_URL
from ovseg.apps.serve.bounds import Deadline
from ovseg.apps.serve.hosts import Hosts
from ovseg.errors import DataError, described

LOCAL, UPLOAD = "/data/local-files/", "/data/upload/"
"""Label Studio's paths of files on its own disk, with ``?d=`` and a relative path, and of uploads."""
HINT = "start the server with --root FOLDER or --hosts HOST"


@dataclass(frozen=True)
class Sources:
    """Where images may come from, whoever asks.

    Attributes:
        root: the folder below which files may be read; None for no files.
        hosts: the hosts that may be downloaded from.
        max_bytes: the largest image file.
    """

    root: Path | None = None
    hosts: Hosts = field(default_factory=Hosts)
    max_bytes: int = 32 << 20


@dataclass(frozen=True)
class Studio:
    """The Label Studio that sent a request: its address, and the token from its setup call."""

    base: str | None = None
    token: str = ""


def read_content(value: object, sources: Sources, deadline: Deadline, studio: Studio | None = None) -> bytes:
    """The bytes of the image that a task names.

    Args:
        value: a data URI with base64; ``/data/local-files/?d=`` and a path below the root; ``/data/upload/``
            and a path, read below the root or else downloaded from Label Studio; another path of Label
            Studio; or an address of one of the hosts.
        sources: where images may come from.
        deadline: the request's.
        studio: the Label Studio to which paths belong.

    Raises:
        DataError: the value names no image that may be read, or the image cannot be read.

    >>> read_content("http://elsewhere/a.png", Sources(), Deadline(9))
    Traceback (most recent call last):
    ...
    ovseg.errors.DataError: expected an image of no host, got one of elsewhere:80
    """
    if not isinstance(value, str):
        raise DataError(f"expected an image as a data URI or an address, got {described(value)}")
    if value[:5].lower() == "data:":
        return from_data_uri(value)
    if len(value) > LONGEST_URL:
        raise DataError(f"expected an address of at most {LONGEST_URL} characters, got {len(value)}")
    local = _local_name(value)
    if local is not None and sources.root is not None:
        path = below(sources.root, local)
        if path is not None:
            return _read(path, sources.max_bytes)
        if value.startswith(LOCAL):
            raise DataError(f"expected a file below the server's folder, got {described(value)}")
    known = studio is not None and studio.base is not None and sources.hosts.allows(studio.base)
    base = studio.base if known and studio is not None else sources.hosts.first
    token = studio.token if known and studio is not None else ""  # only for the host that sent it
    if value.startswith("/") and not value.startswith("//"):
        if base is None:
            raise DataError(f"expected an image that this server may read, got {described(value)}: {HINT}")
        value = urljoin(base, value)
    elif "://" not in value:
        raise DataError(f"expected an image as a data URI or an address, got {described(value)}")
    return sources.hosts.download(value, deadline, base, token)


def from_data_uri(value: str) -> bytes:
    """The bytes of a data URI. Raises DataError if it is not one with base64."""
    head, comma, body = value.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise DataError(f"expected a data URI with base64, got {described(head)}")
    return from_base64(body)


def from_base64(text: str) -> bytes:
    """The bytes of a text in base64. Raises DataError.

    >>> from_base64("AAE=")
    b'\\x00\\x01'
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DataError("expected an image in base64, got other characters") from None


def below(root: Path, name: str) -> Path | None:
    """The regular file ``name`` below ``root`` after links are followed; None if there is none."""
    try:
        base = root.resolve()
        path = (base / name).resolve()
        return path if path.is_relative_to(base) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _local_name(value: str) -> str | None:
    """The relative path of a file on Label Studio's own disk."""
    if value.startswith(LOCAL):
        return parse_qs(urlsplit(value).query).get("d", [""])[0]
    if value.startswith(UPLOAD):
        return unquote(value.removeprefix("/data/").partition("?")[0])
    return None


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise DataError(
            f"expected a file that can be read, got {described(path.name)}: {error.strerror}"
        ) from None
    if len(content) > most:
        raise DataError(f"expected a file of at most {most} bytes, got {described(path.name)}")
    return content
