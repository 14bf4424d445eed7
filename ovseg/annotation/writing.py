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

from ovseg.annotation.ahead import FileFacts
from ovseg.annotation.folder import RunFolder, record_path
from ovseg.annotation.formats.base import Writer, as_json, write_text
from ovseg.annotation.inputs import Job
from ovseg.annotation.manifest import Row
from ovseg.annotation.records import Picture, Record
from ovseg.errors import OvsegError, one_line
from ovseg.files.write import make_folder, write_file

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


class Ledger:
    """Rows into the manifest, counted, with a word to whoever shows progress.

    Attributes:
        done, failed: images of this call with and without a result.
    """

    def __init__(self, folder: RunFolder, progress: Progress | None, total: int, before: int) -> None:
        self.folder, self.progress = folder, progress
        self.total, self.before = total, before
        self.done = self.failed = 0

    def add(self, row: Row) -> None:
        """Count a row whose files are in place, and put it into the manifest where it says something new."""
        if "error" in row:
            self.failed += 1
        else:
            self.done += 1
        if self.folder.manifest.rows.get(str(row["stem"])) != row:
            self.folder.manifest.append(row)
        if self.progress is not None:
            self.progress(self.before + self.done + self.failed, self.total, self.failed)


class Writing:
    """A thread that writes results in order: record, formats, then the manifest's row."""

    def __init__(self, ledger: Ledger, writers: Sequence[Writer]) -> None:
        self.ledger, self.writers = ledger, writers
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
        folder = self.ledger.folder
        self.ledger.add(make_row(job, facts, found, folder.path, folder.key, self.writers))


def make_row(
    job: Job, facts: FileFacts, found: Sized | str, path: Path, key: str, writers: Sequence[Writer]
) -> Row:
    """Write the files of one image and make its row; of an image without a result, the row with the reason.

    Args:
        job: the image.
        facts: what its file was.
        found: what was found, or the reason why there is nothing.
        path: the run folder.
        key: the digest of the run's settings.
        writers: the formats.

    Raises:
        OvsegError: the disk is full or cannot be written.
    """
    image = os.path.abspath(job.image)
    row: Row = {
        "stem": job.stem,
        "name": job.name,
        "image": image,
        "bytes": facts.bytes,
        "mtime": facts.mtime,
    }
    if isinstance(found, str):
        return {**row, "error": found}
    picture = found.picture
    record = Record(job.name, found.size, picture.regions, job.stem, image, picture.presence, run=key)
    try:
        return {**row, **write_record(record, path, writers), "sha256": facts.sha256, "run": key}
    except OvsegError as error:
        if not can_write(path):
            raise
        return {**row, "error": one_line(error)}  # its own fault: a path too long for the file system
    except Exception as error:
        return {**row, "error": f"unexpected {type(error).__name__}: {one_line(error)}"}


def can_write(folder: Path) -> bool:
    """Whether a file of ``PROBE`` bytes can be written in a folder, or the disk is full or read-only."""
    probe = folder / ".ovseg-probe"
    try:
        write_file(probe, lambda file: file.write(bytes(PROBE)))
        probe.unlink()
    except (OvsegError, OSError):
        return False
    return True


def write_record(record: Record, folder: Path, writers: Sequence[Writer]) -> Row:
    """Write an image's record and its files of each format; the part of its row that says so."""
    path = record_path(folder, record.stem)
    make_folder(path.parent)
    write_text(path, [as_json(record.describe()), "\n"])
    for writer in writers:
        writer.write(record)
    counts = Counter(one.label for one in record.regions)
    return {
        "size": list(record.size),
        "masks": dict(sorted(counts.items())),
        "record": path.stat().st_size,
        "formats": [writer.key for writer in writers],
    }
