"""Rows that are appended to a file and survive a kill: what was written whole is kept, the rest done again.

Every row is one line, with a checksum in front of it. A line that a kill cut, or that a disk damaged, is left
out when the file is read; what is appended after it begins on a line of its own.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ovseg.errors import OvsegError

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""What a row can hold."""


class Place(NamedTuple):
    """Where a row stands: its file, and the first byte and the length of its line."""

    path: Path
    start: int
    length: int


def append_rows(path: Path, rows: Mapping[str, Json]) -> None:
    """Append rows, all of them in one write. The folder must exist.

    Args:
        path: the file; it is made where it is missing.
        rows: for each key what it stands for.

    Raises:
        OvsegError: the file cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rows.jsonl"
    >>> append_rows(path, {"a": 1.5})
    >>> append_rows(path, {"b": [2]})
    >>> [(key, read_row(place)) for key, place in find_rows(path)]
    [('a', 1.5), ('b', [2])]
    """
    lines = b"".join(_line(key, row) for key, row in rows.items())
    try:
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    lines = b"\n" + lines
            file.write(lines)
    except OSError as error:
        raise OvsegError(f"expected to write {path}: {error.strerror}") from None


def find_rows(path: Path) -> Iterator[tuple[str, Place]]:
    """The key of each whole row of a file and where it stands, in order. A missing file has none.

    Raises:
        OvsegError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = 0
            for line in file:
                found = _parsed(line)
                if found is not None:
                    yield found[0], Place(path, start, len(line))
                start += len(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OvsegError(f"expected to read {path}: {error.strerror}") from None


def read_row(place: Place) -> Json:
    """What a row holds. Raises OvsegError where the file has changed since ``find_rows``."""
    try:
        with place.path.open("rb") as file:
            file.seek(place.start)
            found = _parsed(file.read(place.length))
    except OSError as error:
        raise OvsegError(f"expected to read {place.path}: {error.strerror}") from None
    if found is None:
        raise OvsegError(f"expected a row at byte {place.start} of {place.path}, the file has changed")
    return found[1]


def _line(key: str, row: Json) -> bytes:
    body = json.dumps([key, row], ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parsed(line: bytes) -> tuple[str, Json] | None:
    mark, space, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or not space or mark != b"%08x" % zlib.crc32(body):
        return None
    key, row = json.loads(body)
    return key, row
