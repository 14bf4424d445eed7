"""Which images a run has to process, and the files and the summary that it writes at the end.

Groups are fixed sections of the sorted list of images. If any image of a group is missing, the whole group goes
through CLIP, because the last bits of CLIP's features depend on the batch size: the files are identical to the byte
however often a run was killed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from ovseg.annotation.formats import Writer
from ovseg.annotation.formats.base import write_text
from ovseg.annotation.records import Record, read_record
from ovseg.annotation.run.folder import RunFolder, record_of, record_path
from ovseg.annotation.run.images import ImageFile, Row
from ovseg.annotation.run.known import is_same
from ovseg.annotation.run.work import write_record
from ovseg.files.write import write_json

Progress: TypeAlias = "Callable[[str, int, int, int], None]"
"""Called with (stage, done, total, failed images); stages are "images", "files" and each format's name."""
Told: TypeAlias = "Callable[[str, int, int], None]"


@dataclass
class Outcome:
    """The result of a run.

    Attributes:
        done: number of images that this call finished.
        before: number of images that earlier calls finished.
        failed: name and reason of each image that has no result.
        masks: masks of each class, over all finished images.
        empty: number of finished images without a mask.
        formats: the folder of each format.
        gone: names of finished images that no longer exist. Label files still contain them.
    """

    done: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    formats: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, object]:
        """The summary for JSON; it does not depend on how often a run was interrupted."""
        return {
            "images": self.done + self.before + len(self.failed),
            "annotated": self.done + self.before,
            "without masks": self.empty,
            "masks": self.masks,
            "failed": [{"image": name, "reason": reason} for name, reason in self.failed.items()],
            "gone": self.gone,
            "formats": self.formats,
        }

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        count = self.done + self.before
        out = [f"{count} of {count + len(self.failed)} images annotated, {self.empty} of them without masks"]
        out += [f"{number} {name}" for name, number in sorted(self.masks.items(), key=lambda one: -one[1])]
        out += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        out += [f"gone, but still in the files: {name}" for name in self.gone]
        return [*out, f"formats: {', '.join(self.formats)}"]


@dataclass(frozen=True)
class Plan:
    """The work of a call.

    Attributes:
        images: all images of the call, sorted by stem.
        groups: the groups with work, each with all its readable images.
        needed: the stems of images without a result for their present content.
        renewed: rows of images that were moved or touched, with the same content.
    """

    images: Sequence[ImageFile]
    groups: Sequence[Sequence[ImageFile]]
    needed: frozenset[str]
    renewed: Sequence[Row]


def make_plan(images: Sequence[ImageFile], folder: RunFolder, group: int, retry: bool = False) -> Plan:
    """Compare a call's images with the manifest; writes nothing.

    Args:
        images: from ``recognise``, sorted by stem.
        folder: the run folder.
        group: number of images in a group.
        retry: process images again that failed before, even if their files have not changed.
    """
    known = {image.stem: row for image in images if (row := _current(image, folder, retry)) is not None}
    needed = frozenset(image.stem for image in images if image.stem not in known)
    readable = needed | {stem for stem, row in folder.rows.items() if "error" not in row}
    groups = [images[start : start + group] for start in range(0, len(images), group)]
    todo = [
        [image for image in part if image.stem in readable]
        for part in groups
        if any(image.stem in needed for image in part)
    ]
    return Plan(images, todo, needed, [row for stem, row in known.items() if row != folder.rows[stem]])


def _current(image: ImageFile, folder: RunFolder, retry: bool) -> Row | None:
    """The row of an image that is up to date, with its present path and time; None if it has to be processed."""
    row = folder.rows.get(image.stem)
    if row is None:
        return None
    failed = "error" in row
    if (retry or row.get("again")) if failed else not _has_record(folder, row):
        return None
    try:
        time = os.stat(image.path).st_mtime_ns
    except (OSError, ValueError):
        return None if failed and row.get("bytes") is not None else row  # a deleted image keeps its result
    now: Row = {**row, "name": image.name, "image": str(image.path), "mtime": time}
    return now if is_same(row, image.path) else None


def _has_record(folder: RunFolder, row: Row) -> bool:
    try:
        return record_path(folder.path, row["stem"]).stat().st_size == row.get("record")
    except OSError:
        return False


def renew(folder: RunFolder, rows: Sequence[Row]) -> None:
    """Record new names, paths and times of unchanged images. Raises OvsegError.

    A moved image's files, which may link to it, are written again from its record.
    """
    for row in rows:
        if "error" not in row and row["image"] != folder.rows[row["stem"]].get("image"):
            record = read_record(record_path(folder.path, row["stem"]))
            record = replace(record, name=row["name"], image=row["image"])
            row = {**row, **write_record(record, folder.path, ())}
        folder.append(row)


class Tally:
    """Appends a call's rows to the manifest and counts them.

    Attributes:
        done, failed: images of this call with and without a result.
    """

    def __init__(self, folder: RunFolder, plan: Plan, progress: Progress | None) -> None:
        self.folder, self.progress = folder, progress
        self.total = len(plan.images)
        self.before = self.total - len(plan.needed)
        self.done = self.failed = 0

    def add(self, row: Row) -> None:
        """Count a row whose files are written, and append it unless the manifest has it already."""
        if "error" in row:
            self.failed += 1
        else:
            self.done += 1
        if self.folder.rows.get(row["stem"]) != row:
            self.folder.append(row)
        if self.progress is not None:
            self.progress("images", self.before + self.done + self.failed, self.total, self.failed)


def finish(
    folder: RunFolder,
    writers: Sequence[Writer],
    images: Sequence[ImageFile],
    done: int,
    progress: Progress | None = None,
) -> Outcome:
    """Write missing files of formats, the files that cover the whole data set, and the summary.

    Args:
        folder: the run folder, with a row for every image.
        writers: the formats.
        images: the images of the call.
        done: number of images that this call finished.
        progress: called as files are written.
    """
    asked = {image.stem for image in images}  # earlier failures of other images do not count
    failed = {
        row["name"]: row["error"]
        for stem, row in sorted(folder.rows.items())
        if "error" in row and stem in asked
    }

    def told(what: str, count: int, total: int) -> None:
        if progress is not None:
            progress(what, count, total, len(failed))

    _write_missing(folder, writers, told)
    good = folder.finished()
    for writer in writers:
        writer.finish(partial(_told_records, folder, writer.name, told))
    masks = Counter[str]()
    for row in good:
        masks.update(row.get("masks", {}))
    outcome = Outcome(
        done,
        len(good) - done,
        failed,
        dict(sorted(masks.items())),
        sum(not row.get("masks") for row in good),
        {writer.name: writer.name for writer in writers},
        [row["name"] for row in good if not os.path.lexists(row["image"])],
    )
    write_json(folder.path / "summary.json", outcome.describe())
    write_text(folder.path / "summary.txt", (f"{line}\n" for line in outcome.lines()))
    return outcome


def _write_missing(folder: RunFolder, writers: Sequence[Writer], told: Told) -> None:
    """Write files that finished images lack, from their records."""
    names = list(folder.info.names)
    rows = folder.finished()
    for number, row in enumerate(rows, 1):
        same = row.get("classes", folder.info.names_of(row.get("run"))) == names
        has = row.get("formats", []) if same else []  # other class numbers: write all files again
        missing = [writer for writer in writers if writer.key not in has]
        if not missing:
            continue
        record = record_of(folder.path, row)
        for writer in missing:
            writer.write(record)
        renewed: Row = {**row, "formats": [*has, *(writer.key for writer in missing)]}
        folder.append(renewed if same else {**renewed, "classes": names})
        told("files", number, len(rows))


def _told_records(folder: RunFolder, name: str, told: Told) -> Iterator[Record]:
    """The records of all finished images; reports progress as they are consumed."""
    total = len(folder.finished())
    for number, record in enumerate(folder.records(), 1):
        yield record
        told(name, number, total)
