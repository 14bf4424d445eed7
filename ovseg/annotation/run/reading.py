"""Decode images ahead of their use: in threads, in order, within a memory budget."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.run.images import ImageFile, Row
from ovseg.errors import ImageError, OvsegError, one_line
from ovseg.files.formats import decode
from ovseg.files.paths import check_file, open_file, shown
from ovseg.files.values import pixel_limit

AHEAD_BYTES = 256 << 20
"""While this much is decoded and unused, only the image that is needed next is decoded."""
AHEAD = 16
"""Most images that are decoded ahead."""
CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Loaded:
    """The result of reading an image.

    Attributes:
        row: its names, and size, time and digest of the file; "error" if there is no picture.
        picture: (H, W, 3) uint8 RGB, or None.
    """

    row: Row
    picture: NDArray[np.uint8] | None = None


def load(image: ImageFile) -> Loaded:
    """Read one image. Errors are recorded in the row, so that the run continues without it."""
    row: Row = {
        "stem": image.stem,
        "name": image.name,
        "image": str(image.path),
        "bytes": None,
        "mtime": None,
    }
    try:
        return Loaded(row, _read(image, row))
    except MemoryError:
        row["error"], row["again"] = "not enough memory to read it", True
    except OSError as error:  # the disk or the network failed; the image may be fine
        row["error"], row["again"] = f"expected to read {shown(image.path)}: {error.strerror}", True
    except Exception as error:
        row["error"] = reason(error)
    return Loaded(row)


def _read(image: ImageFile, row: Row) -> NDArray[np.uint8]:
    """Read a picture, and record size, time and digest of exactly these bytes in the row.

    An open file is not affected if another file takes its name; a file that was written to meanwhile is
    noticed by its size or time.
    """
    path = check_file(image.path)
    with open_file(path) as stream:
        before = os.fstat(stream.fileno())
        row["bytes"], row["mtime"] = before.st_size, before.st_mtime_ns
        digest = hashlib.sha256()
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
        row["sha256"] = digest.hexdigest()
        stream.seek(0)
        picture = decode(stream, shown(path), pixel_limit())
        after = os.fstat(stream.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        row["again"] = True
        raise ImageError(f"expected an image file, {shown(path)} was changed while it was read")
    return picture


def reason(error: Exception) -> str:
    """Describe an error of one image in one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OvsegError):
        return one_line(error)
    return f"unexpected {type(error).__name__}: {one_line(error)}"


def load_ahead(images: Iterable[ImageFile], threads: int) -> Generator[Loaded, None, None]:
    """Yield the images in order while ``threads`` threads decode the next ones."""
    budget = _Budget()
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            for index, image in enumerate(images):
                while len(waiting) >= AHEAD:
                    yield budget.give(waiting.popleft().result())
                waiting.append(pool.submit(budget.load, index, image))
            while waiting:
                yield budget.give(waiting.popleft().result())
        finally:
            budget.close()


class _Budget:
    """Blocks decoders while ``AHEAD_BYTES`` of pictures wait, except for the image that is needed next."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._held = self._given = 0
        self._closed = False

    def load(self, index: int, image: ImageFile) -> Loaded:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._held < AHEAD_BYTES or index == self._given)
            if self._closed:
                return Loaded({"stem": image.stem, "error": "not read"})
        loaded = load(image)
        with self._changed:
            self._held += _bytes(loaded)
        return loaded

    def give(self, loaded: Loaded) -> Loaded:
        with self._changed:
            self._held -= _bytes(loaded)
            self._given += 1
            self._changed.notify_all()
        return loaded

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _bytes(loaded: Loaded) -> int:
    return 0 if loaded.picture is None else loaded.picture.nbytes
