"""Images decoded ahead of their use, by threads, in order and within a bound of memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.inputs import Job
from ovseg.errors import OvsegError, one_line
from ovseg.files.paths import sha256_of
from ovseg.files.pictures import load_image

AHEAD_BYTES = 256 << 20
"""While so much is decoded and not used yet, no further image is begun but the next one in line."""
AHEAD = 16
"""At most so many images are decoded ahead."""


@dataclass(frozen=True)
class FileFacts:
    """What a file was when it was read; None where it could not be looked at.

    Attributes:
        bytes: its size.
        mtime: its time of modification in nanoseconds.
        sha256: of its content, in hexadecimal.
    """

    bytes: int | None = None
    mtime: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class Loaded:
    """One image: its picture (H, W, 3) uint8 RGB, or the reason why there is none."""

    job: Job
    facts: FileFacts
    picture: NDArray[np.uint8] | None = None
    error: str | None = None


def look_at(job: Job) -> FileFacts:
    """Size and time of an image's file, without its content."""
    try:
        stat = os.stat(job.image)
    except (OSError, ValueError):
        return FileFacts()
    return FileFacts(stat.st_size, stat.st_mtime_ns)


def load(job: Job) -> Loaded:
    """Read one image. Whatever is wrong with it becomes its reason: a run goes on without it."""
    facts = look_at(job)
    try:
        picture = load_image(job.image)
        return Loaded(job, FileFacts(facts.bytes, facts.mtime, sha256_of(job.image)), picture)
    except OvsegError as error:
        return Loaded(job, facts, error=one_line(error))
    except MemoryError:
        return Loaded(job, facts, error="not enough memory to read it")
    except Exception as error:
        return Loaded(job, facts, error=f"unexpected {type(error).__name__}: {one_line(error)}")


def load_ahead(jobs: Iterable[Job], threads: int) -> Iterator[Loaded]:
    """Every image in order, the next ones decoded meanwhile.

    Args:
        jobs: the images.
        threads: how many decode at once.
    """
    budget = _Budget()
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            for index, job in enumerate(jobs):
                while len(waiting) >= AHEAD:
                    yield budget.give(waiting.popleft().result())
                waiting.append(pool.submit(budget.load, index, job))
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

    def load(self, index: int, job: Job) -> Loaded:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._held < AHEAD_BYTES or index == self._given)
            if self._closed:
                return Loaded(job, FileFacts(), error="not read")
        loaded = load(job)
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
