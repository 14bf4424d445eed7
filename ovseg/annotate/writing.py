"""Results to files behind the finder's back: a thread that writes in order, the manifest's row last."""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.annotate.ahead import FileFacts
from ovseg.annotate.folder import RunFolder
from ovseg.annotate.inputs import Job
from ovseg.annotate.manifest import Row
from ovseg.annotate.records import Picture, Record
from ovseg.annotate.writers.base import Writer, as_json, write_text
from ovseg.errors import OvsegError, one_line
from ovseg.io.writers import make_folder, write_file

PROBE = 4 << 20
WAITING = 16
"""Results that wait to be written before the finder waits for the writer."""

Progress = Callable[[int, int, int], None]
"""Called with images done, images in all, and images that failed."""


@dataclass(frozen=True)
class Sized:
    """What was found, and (height, width) of the picture."""

    picture: Picture
    size: tuple[int, int]


def sized(picture: NDArray[np.uint8], found: Picture) -> Sized:
    return Sized(found, (picture.shape[0], picture.shape[1]))


class Stopped(Exception):
    """The writer has failed: nothing further is computed."""


class Writing:
    """A thread that writes results in order: record, formats, then the manifest's row."""

    def __init__(
        self,
        folder: RunFolder,
        writers: Sequence[Writer],
        progress: Progress | None,
        total: int,
        before: int,
    ) -> None:
        self.folder, self.writers, self.progress = folder, writers, progress
        self.total, self.before = total, before
        self.done = self.failed = 0
        self.error: BaseException | None = None
        self._queue: queue.Queue[tuple[Job, FileFacts, Sized | str] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="write")
        self._thread.start()

    def put(self, job: Job, facts: FileFacts, found: Sized | str) -> None:
        """Hand over a result, or the reason why there is none."""
        if self.error is not None:
            raise Stopped
        self._queue.put((job, facts, found))

    def close(self) -> None:
        """Wait until everything that was handed over is written."""
        self._queue.put(None)
        self._thread.join()

    def check(self) -> None:
        """Raise what stopped the writer."""
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self.error is not None:
                continue  # what is still in the queue is done again by the next run
            try:
                self._write(*item)
            except BaseException as error:
                self.error = error

    def _write(self, job: Job, facts: FileFacts, found: Sized | str) -> None:
        row: Row = {
            "stem": job.stem,
            "name": job.name,
            "image": absolute(job),
            "bytes": facts.bytes,
            "mtime": facts.mtime,
        }
        error = found if isinstance(found, str) else None
        if isinstance(found, Sized):
            record = Record(
                job.name,
                found.size,
                found.picture.regions,
                job.stem,
                absolute(job),
                found.picture.presence,
                run=self.folder.key,
            )
            try:
                row |= write_record(record, self.folder, self.writers)
                row |= {"sha256": facts.sha256, "run": self.folder.key}
            except OvsegError as failed:
                if not can_write(self.folder.path):
                    raise
                error = one_line(failed)  # this image's own: its path is too long for the file system
            except Exception as failed:
                error = f"unexpected {type(failed).__name__}: {one_line(failed)}"
        if error is None:
            self.done += 1
        else:
            self.failed += 1
            row["error"] = error
        if self.folder.manifest.rows.get(job.stem) != row:
            self.folder.manifest.append(row)
        if self.progress is not None:
            self.progress(self.before + self.done + self.failed, self.total, self.failed)


def can_write(folder: Path) -> bool:
    """Whether a file of ``PROBE`` bytes can be written in a folder, or the disk is full or read-only."""
    probe = folder / ".ovseg-probe"
    try:
        write_file(probe, lambda file: file.write(bytes(PROBE)))
        probe.unlink()
    except (OvsegError, OSError):
        return False
    return True


def absolute(job: Job) -> str:
    """The absolute path of an image as text."""
    return os.path.abspath(job.image)


def write_record(record: Record, folder: RunFolder, writers: Sequence[Writer]) -> Row:
    """Write an image's record and its files of each format; the part of its row that says so."""
    path = folder.record_path(record.stem)
    make_folder(path.parent)
    write_text(path, as_json(record.describe()) + "\n")
    for writer in writers:
        writer.write(record)
    counts = Counter(one.label for one in record.regions)
    return {
        "size": list(record.size),
        "masks": dict(sorted(counts.items())),
        "record": path.stat().st_size,
        "formats": [writer.key for writer in writers],
    }
