"""Images decoded ahead of their use, by threads, in order and within a bound of memory."""

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
"""While so much is decoded and not used yet, no further image is begun but the next one in line."""
AHEAD = 16
"""At most so many images are decoded ahead."""
CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Loaded:
    """An image as it was read.

    Attributes:
        row: what is known of it: its names, size, time and digest of the file, and under "error" why there
            is no picture.
        picture: (H, W, 3) uint8 RGB, or None.
    """

    row: Row
    picture: NDArray[np.uint8] | None = None


def load(image: ImageFile) -> Loaded:
    """Read one image. Whatever is wrong with it becomes its reason: a run goes on without it."""
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
    except OSError as error:  # of the disk or the network, and not of the image
        row["error"], row["again"] = f"expected to read {shown(image.path)}: {error.strerror}", True
    except Exception as error:
        row["error"] = reason(error)
    return Loaded(row)


def _read(image: ImageFile, row: Row) -> NDArray[np.uint8]:
    """The picture of a file; its facts go into the row. Both are of one content, whatever happens to the file.

    An open file stays the one it was when another takes its name; one that is written to meanwhile has
    another time afterwards.
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
    """An error as the reason of one image, on one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OvsegError):
        return one_line(error)
    return f"unexpected {type(error).__name__}: {one_line(error)}"


def load_ahead(images: Iterable[ImageFile], threads: int) -> Generator[Loaded, None, None]:
    """Every image in order, the next ones decoded meanwhile by ``threads`` threads."""
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
    """Holds decoders back while ``AHEAD_BYTES`` of pictures wait; the next one in line may go on."""

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
