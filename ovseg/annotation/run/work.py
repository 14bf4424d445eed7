"""The work on each image, in this process or on a worker: find regions group by group, write files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats import Writer
from ovseg.annotation.formats.base import as_json, write_text
from ovseg.annotation.records import Picture, Record
from ovseg.annotation.run.folder import record_path
from ovseg.annotation.run.images import ImageFile, Row
from ovseg.annotation.run.reading import Loaded, load_ahead, reason
from ovseg.errors import OvsegError, UsageError
from ovseg.files.pictures import grouped
from ovseg.files.write import make_folder, write_file

PROBE = 4 << 20


class Finder(Protocol):
    """Finds the regions of pictures. engine="ray" needs it to be picklable."""

    @property
    def batch(self) -> int:
        """Number of pictures in a group. If it changes between runs into a folder, bytes may differ."""
        ...

    def find(
        self, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[bool] | None = None
    ) -> Iterator[Picture | None]:
        """Find the regions of each picture (H, W, 3) uint8 RGB; None for a picture that is not wanted."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Everything that decides the regions, for JSON; a run is identified by it."""
        ...


@dataclass(frozen=True)
class Work:
    """Turns images into the files of a run.

    Attributes:
        finder: finds the regions.
        writers: the formats.
        folder: the run folder.
        key: the digest of the run's settings.
        threads: number of decoder threads.
    """

    finder: Finder
    writers: Sequence[Writer]
    folder: Path
    key: str
    threads: int

    def find(
        self, groups: Sequence[Sequence[ImageFile]], needed: Collection[str]
    ) -> Iterator[tuple[Row, Record | None]]:
        """Yield the row of each needed image and its record, which is None if the row has an error."""
        with closing(load_ahead((image for group in groups for image in group), self.threads)) as loads:
            for group in groups:
                for batch in grouped(islice(loads, len(group)), _pixels, len(group)):
                    yield from self._find(batch, needed)

    def write(self, row: Row, record: Record | None) -> Row:
        """Write the files of an image; returns the completed row, or the row with an error.

        Raises:
            OvsegError: the disk is full or read-only, which concerns every image.
        """
        if record is None:
            return row
        try:
            return {**row, **write_record(record, self.folder, self.writers), "run": self.key}
        except OvsegError as error:
            if not can_write(self.folder):
                raise
            return {**row, "error": reason(error), "again": True}
        except Exception as error:
            return {**row, "error": reason(error)}

    def _find(self, batch: Sequence[Loaded], needed: Collection[str]) -> Iterator[tuple[Row, Record | None]]:
        good = [(one.row, one.picture) for one in batch if one.picture is not None]
        yield from ((one.row, None) for one in batch if one.picture is None and one.row["stem"] in needed)
        wanted = [row["stem"] in needed for row, _ in good]
        found = find_all(self.finder, [picture for _, picture in good], wanted)
        for (row, picture), asked, one in zip(good, wanted, found, strict=True):
            if not asked:
                continue
            if isinstance(one, Picture):
                yield row, make_record(row, one, (picture.shape[0], picture.shape[1]), self.key)
            else:
                yield {**row, **one}, None


def find_all(
    finder: Finder, pictures: Sequence[NDArray[np.uint8]], wanted: Sequence[bool]
) -> list[Picture | Row]:
    """Find the regions of each wanted picture; a failure gives a row with "error" and "again".

    All pictures go through the finder in one batch, because the last bits of CLIP's features depend on the
    batch size. If that fails, the pictures that also fail alone are removed, and the rest is a batch: the
    same that a later call makes, which skips failed images.
    """
    if not any(wanted):
        return [{}] * len(pictures)
    try:
        found = list(finder.find(pictures, wanted))
        if len(found) != len(pictures):
            raise UsageError(f"expected {len(pictures)} answers from the finder, got {len(found)}")
        return [one or {"error": "expected regions from the finder, got none"} for one in found]
    except Exception as error:
        together = reason(error)
    alone = [_failure(finder, picture, asked) for picture, asked in zip(pictures, wanted, strict=True)]
    kept = [index for index, failure in enumerate(alone) if failure is None]
    if len(kept) == len(pictures):
        told = f"{together} (of {len(kept)} images together, not of this one alone: a smaller batch helps)"
        return [{"error": told, "again": True}] * len(pictures)
    rest = find_all(finder, [pictures[index] for index in kept], [wanted[index] for index in kept])
    out: list[Picture | Row] = [failure or {} for failure in alone]
    for index, one in zip(kept, rest, strict=True):
        out[index] = one
    return out


def _failure(finder: Finder, picture: NDArray[np.uint8], wanted: bool) -> Row | None:
    try:
        for _ in finder.find([picture], [wanted]):
            pass
    except MemoryError as error:
        return {"error": reason(error), "again": True}
    except Exception as error:
        return {"error": reason(error)}
    return None


def make_record(row: Row, found: Picture, size: tuple[int, int], key: str) -> Record:
    """The record of an image: the regions that were found, and the run that found them."""
    return Record(row["name"], size, found.regions, row["stem"], row["image"], found.presence, run=key)


def write_record(record: Record, folder: Path, writers: Sequence[Writer]) -> Row:
    """Write an image's record and its files of each format; returns these parts of its row."""
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


def can_write(folder: Path) -> bool:
    """Whether a file of ``PROBE`` bytes can be written into a folder."""
    probe = folder / ".ovseg-probe"
    try:
        write_file(probe, lambda file: file.write(bytes(PROBE)))
        probe.unlink()
    except (OvsegError, OSError):
        return False
    return True


def _pixels(loaded: Loaded) -> int:
    return 0 if loaded.picture is None else loaded.picture.shape[0] * loaded.picture.shape[1]
