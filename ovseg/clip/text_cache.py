"""A cache of text features on disk: one small file each, checked at every read."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import OvsegError, OvsegWarning
from ovseg.files.paths import home
from ovseg.files.write import write_file

_MAGIC = b"ovseg text feature 2\n"
_DIGEST = hashlib.sha256().digest_size
_OWN = re.compile(r"[0-9a-f]{64}\.feature|\.ovseg-.*")
"""Entries, and temporary files of processes that were killed."""
MAX_LENGTH = 2**16
"""The most values of a feature; a larger file is not read."""


class TextCache:
    """Text features on disk, safe for several processes and threads at once.

    An entry is a file: a line that names the format, the SHA-256 of key and values, and the values as
    float32. Any other file (cut off, changed, of another kind, of another key, not of unit norm) counts as
    absent and is replaced. Writes are atomic. A folder that cannot be written only costs time, and warns
    once.

    Args:
        folder: where the entries are; the folder ``text`` in ovseg's home by default.
        limit: bytes of all entries; beyond it the oldest are evicted.

    >>> import tempfile
    >>> cache = TextCache(Path(tempfile.mkdtemp()))
    >>> cache.write("ab" * 32, np.array([0.6, 0.8], np.float32))
    >>> cache.read("ab" * 32), cache.read("cd" * 32)
    (array([0.6, 0.8], dtype=float32), None)
    """

    def __init__(self, folder: Path | None = None, limit: int = 256 * 2**20) -> None:
        self.folder = Path(folder) if folder is not None else home() / "text"
        self.limit = limit
        self._warned = False
        self._unmeasured = limit  # bytes written since the folder was last measured; at first it is unknown

    def read(self, key: str) -> NDArray[np.float32] | None:
        """The feature of ``key``, (D,) float32 of unit norm, or None where there is no valid entry.

        Args:
            key: 64 hexadecimal digits.
        """
        content = _regular_file(self._path(key), len(_MAGIC) + _DIGEST + 4 * MAX_LENGTH)
        if content is None or not content.startswith(_MAGIC):
            return None
        digest, values = content[len(_MAGIC) :][:_DIGEST], content[len(_MAGIC) + _DIGEST :]
        if not values or len(values) % 4 or digest != _checksum(key, values):
            return None
        feature = np.frombuffer(values, "<f4").astype(np.float32)  # a copy that may be written to
        return feature if _is_unit(feature) else None

    def write(self, key: str, feature: NDArray[np.float32]) -> None:
        """Store the feature (D,) of ``key`` if it is of unit norm. Never raises."""
        if not _is_unit(feature):
            return
        values = np.ascontiguousarray(feature, "<f4").tobytes()
        content = _MAGIC + _checksum(key, values) + values
        path = self._path(key)
        _make_way(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, lambda file: file.write(content))
        except (OSError, OvsegError) as error:
            self._warn(error)
        else:
            self._unmeasured += len(content)

    def trim(self) -> None:
        """Evict the oldest entries until the rest is within the limit. Never raises.

        Measuring the folder takes time: it is done at a process's first call, and then after each 1/64 of
        the limit that is written.
        """
        if self._unmeasured < self.limit // 64:
            return
        self._unmeasured = 0
        files = sorted(_entries(self.folder))
        excess = sum(size for _, size, _ in files) - self.limit
        for _, size, path in files:
            if excess <= 0:
                return
            with suppress(OSError):  # another process was faster, or the folder may not be written
                path.unlink()
            excess -= size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.feature"

    def _warn(self, error: OSError | OvsegError) -> None:
        if not self._warned:
            self._warned = True
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            message = f"text features are not kept: {self.folder} cannot be written ({reason})"
            warnings.warn(message, OvsegWarning, stacklevel=4)


def _checksum(key: str, values: bytes) -> bytes:
    return hashlib.sha256(key.encode() + values).digest()  # every key has the same length


def _is_unit(feature: NDArray[np.float32]) -> bool:
    """Whether (D,) values are finite and their norm is 1, as far as float32 and half precision can be."""
    if feature.ndim != 1 or not 0 < len(feature) <= MAX_LENGTH or feature.dtype != np.float32:
        return False
    return bool(abs(np.linalg.norm(feature.astype(np.float64)) - 1) < 1e-3)  # false for NaN and inf too


def _regular_file(path: Path, limit: int) -> bytes | None:
    """The content of a file of at most ``limit`` bytes; None for a larger one, a pipe, or none at all."""
    # Without O_NONBLOCK, opening a pipe waits for a writer, perhaps for ever. Windows has neither.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
                return None
            return file.read(limit + 1)
    except OSError:
        return None


def _make_way(path: Path) -> None:
    """Remove a pipe or the like at an entry's path, which ``write_file`` would not replace."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            path.unlink()


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time, size and path of every file that this cache wrote."""
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        if not _OWN.fullmatch(path.name):
            continue
        with suppress(OSError):  # another process was faster
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                yield found.st_mtime, found.st_size, path
