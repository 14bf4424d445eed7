"""The manifest of a run: one line for each finished image, written after the image's files were renamed.

Each line begins with the CRC-32 of the rest of it. There is one writer, who holds the run folder's lock. Each
line is one ``write``, and the last ones are brought to the disk together. A run that is killed leaves at most
one torn line at the end, which is cut at the next start; its image is done again.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from ovseg.errors import OvsegError, UsageError
from ovseg.files.paths import shown
from ovseg.files.write import write_file

Row: TypeAlias = "dict[str, object]"
SYNC_ROWS, SYNC_SECONDS = 64, 5.0
"""Lines are brought to the disk after so many, or so long."""


class Manifest:
    """The rows of a run folder, by the stem of their image; the last row of a stem counts.

    Args:
        path: the file, which need not exist.

    Attributes:
        rows: every row; each has at least its "stem".
        damaged: lines that were no rows, with a torn one at the end; their images are done again.

    Raises:
        OvsegError: the file cannot be read or written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "manifest.jsonl"
    >>> with Manifest(path) as manifest:
    ...     manifest.append({"stem": "a"})
    >>> _ = path.write_bytes(path.read_bytes() + b"0123abcd {torn")
    >>> with Manifest(path) as manifest:
    ...     list(manifest.rows), manifest.damaged
    (['a'], 1)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows, self.damaged, whole = read_rows(path)
        if self.damaged:
            lines = [line for line in whole if line]
            write_file(path, lambda file: file.writelines(lines))
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise OvsegError(f"expected to write {shown(path)}: {error.strerror}") from None
        self._waiting, self._synced = 0, time.monotonic()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, row: Mapping[str, object]) -> None:
        """Add a row; its files have to be in place.

        Raises:
            OvsegError: it cannot be written; the file is as it was before.
        """
        line = encode_row(row)
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise OvsegError(f"expected to write {shown(self.path)}: {error.strerror}") from None
        self.rows[str(row["stem"])] = dict(row)
        self._waiting += 1
        if self._waiting >= SYNC_ROWS or time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Bring every row to the disk."""
        with suppress(OSError):  # a file system that cannot: the rows are in the file all the same
            os.fsync(self._file)
        self._waiting, self._synced = 0, time.monotonic()

    def close(self) -> None:
        """Bring every row to the disk and close the file."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1


def encode_row(row: Mapping[str, object]) -> bytes:
    """A row as one line: its CRC-32 in eight hexadecimal digits, a space, JSON."""
    content = json.dumps(row, separators=(",", ":"), sort_keys=True).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def read_rows(path: Path) -> tuple[dict[str, Row], int, list[bytes]]:
    """The rows of a manifest without opening it for writing.

    Returns:
        The rows by stem, the number of damaged lines, and the good lines as they are.

    Raises:
        OvsegError: the file cannot be read.
    """
    rows: dict[str, Row] = {}
    good: list[bytes] = []
    damaged = 0
    try:
        with path.open("rb") as file:
            for line in file:
                row = _decode(line)
                if row is None:
                    damaged += 1
                    continue
                good.append(line)
                rows[str(row["stem"])] = row
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OvsegError(f"expected to read {shown(path)}: {error.strerror}") from None
    return rows, damaged, good


def _decode(line: bytes) -> Row | None:
    head, space, content = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or not space or head != b"%08x" % zlib.crc32(content):
        return None
    try:
        row = json.loads(content)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("stem"), str) else None


class Lock:
    """The lock of a run folder: one process writes into it.

    Raises:
        UsageError: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = -1
        try:
            import fcntl
        except ImportError:  # Windows: two runs into one folder are the user's to avoid
            return
        path = folder / ".lock"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise UsageError(
                f"expected {shown(folder)} for this run alone, another run writes there"
            ) from None
        except OSError as error:
            if self._file < 0:
                raise OvsegError(f"expected to write {shown(path)}: {error.strerror}") from None
            # some network file systems have no locks

    def release(self) -> None:
        """Let the next run in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
