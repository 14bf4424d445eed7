"""An append-only file of rows that survives a kill: complete rows are kept, an incomplete one is ignored.

Every row is a line of JSON after its CRC-32. A line that was truncated or damaged is not a row; the next row
starts on a new line.
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ovseg.errors import OvsegError
from ovseg.files.paths import shown
from ovseg.files.write import write_file

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""The content of a row."""
SYNC_ROWS, SYNC_SECONDS = 64, 5.0
"""The file is synced after this many calls of ``append``, or this many seconds."""


class Place(NamedTuple):
    """Location of a row: its file, and the offset and length of its line in bytes."""

    path: Path
    start: int
    length: int


class Journal:
    """A file of rows: one process appends while any number of processes read.

    Args:
        path: the file, in a folder that exists. The first ``append`` makes it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rows.jsonl"
    >>> with Journal(path) as journal:
    ...     journal.append([{"stem": "a"}, {"stem": "b"}])
    >>> _ = path.write_bytes(path.read_bytes()[:-4])  # a kill while the last row was written
    >>> [row for _, row in Journal(path).rows()], Journal(path).repair()
    ([{'stem': 'a'}], 1)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None
        self._waiting, self._synced = 0, time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self) -> Iterator[tuple[Place, Json]]:
        """Each row with its location, in file order. A missing file has no rows.

        Raises:
            OvsegError: the file cannot be read.
        """
        start = 0
        for line in self._lines():
            if (found := _parsed(line)) is not None:
                yield Place(self.path, start, len(line)), found[0]
            start += len(line)

    def repair(self) -> int:
        """Remove damaged lines; called before anything is appended.

        Returns:
            The number of lines that were removed.

        Raises:
            OvsegError: the file cannot be read or written.
        """
        damaged = sum(_parsed(line) is None for line in self._lines())
        if damaged:
            good = [line for line in self._lines() if _parsed(line) is not None]
            write_file(self.path, lambda file: file.writelines(good))
        return damaged

    def append(self, rows: Iterable[Json]) -> None:
        """Append rows in one write.

        Raises:
            OvsegError: they cannot be written; the file is as it was before.
        """
        lines = b"".join(map(_line, rows))
        try:
            if self._file is None:
                self._file = self.path.open("a+b", buffering=0)
                if not _ends_a_line(self._file):
                    lines = b"\n" + lines
            _write_all(self._file, lines)
        except OSError as error:
            raise OvsegError(f"expected to write {shown(self.path)}: {error.strerror}") from None
        self._waiting += 1
        if self._waiting >= SYNC_ROWS or time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Flush every row to the disk."""
        if self._file is not None:
            with suppress(OSError):  # a file system that cannot: the rows are in the file all the same
                os.fsync(self._file)
        self._waiting, self._synced = 0, time.monotonic()

    def close(self) -> None:
        """Flush every row to the disk and close the file."""
        self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise OvsegError(f"expected to read {shown(self.path)}: {error.strerror}") from None


def read_row(place: Place) -> Json:
    """The content of a row. Raises OvsegError if the file has changed since ``Journal.rows``."""
    try:
        with place.path.open("rb") as file:
            file.seek(place.start)
            found = _parsed(file.read(place.length))
    except OSError as error:
        raise OvsegError(f"expected to read {shown(place.path)}: {error.strerror}") from None
    if found is None:
        raise OvsegError(f"expected a row at byte {place.start} of {shown(place.path)}, the file has changed")
    return found[0]


def _line(row: Json) -> bytes:
    body = json.dumps(row, allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parsed(line: bytes) -> tuple[Json] | None:
    """A line's content in a tuple, since the content may be None; None for a damaged line."""
    mark, space, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or not space or mark != b"%08x" % zlib.crc32(body):
        return None
    try:
        return (json.loads(body),)
    except ValueError:
        return None


def _ends_a_line(file: FileIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _write_all(file: FileIO, content: bytes) -> None:
    """Append in one call, all or nothing."""
    size = file.seek(0, os.SEEK_END)
    try:
        if file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with suppress(OSError):
            file.truncate(size)
        raise
