"""Convert annotations between formats, with the readers and writers of a run."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ovseg
from ovseg.annotation.formats import Annotations, Target, Writer, writers_of
from ovseg.annotation.formats.base import Records
from ovseg.annotation.records import Record, parse_record, without_ending
from ovseg.errors import DataError, OvsegError, UsageError
from ovseg.files.find import apart, cut_name
from ovseg.files.paths import shown
from ovseg.files.write import make_folder
from ovseg.options import FormatOptions


def convert(
    annotations: Annotations,
    out: str | os.PathLike[str],
    formats: str | Sequence[str],
    options: FormatOptions | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> int:
    """Write annotations in other formats, each in a new folder of its name below ``out``.

    Images that cannot be read, and content that a reader or format does not support, are left out and counted
    in ``annotations.skipped``; everything else is written.

    Args:
        annotations: what ``read_annotations`` gives.
        out: the folder.
        formats: names of ``ovseg.options.FORMATS``.
        options: the choices of the formats.
        progress: called with (stage, done, total); stages are "images", of which the total is not known before
            the end, and the name of each format.

    Returns:
        The number of images.

    Raises:
        UsageError: a format is unknown or cannot hold the classes, there are none, or the folder of a format
            has files already, whose numbers may mean other classes.
        OvsegError: a file cannot be written.
    """
    made = _new_writers(formats, _target(annotations, Path(out), options))
    make_folder(Path(out))

    def told(stage: str, records: Iterator[Record], total: int = 0) -> Iterator[Record]:
        for number, record in enumerate(records, 1):
            yield record
            if progress is not None:
                progress(stage, number, total or number)

    def again(stage: str) -> Records:
        return lambda: told(stage, kept.records(), kept.count)

    with Kept(Path(out)) as kept:
        for record in told("images", distinct(readable(annotations))):
            for writer in made:
                if record.void is not None and not writer.holds_void:
                    annotations.skipped.add(f"void pixels, which {writer.name} cannot hold", record.name)
                writer.write(record)
            kept.add(record)
        for writer in made:
            writer.finish(again(writer.name))
    return kept.count


class Kept:
    """Records in a file without a name, so that they are read from foreign files once however many formats follow.

    Args:
        folder: where the file lies; it is gone when the process ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.count = 0

    def __enter__(self) -> Kept:
        with self._writing():
            self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Append a record. Raises OvsegError where the disk is full."""
        with self._writing():
            self._file.write(json.dumps(record.describe()).encode() + b"\n")
        self.count += 1

    def records(self) -> Iterator[Record]:
        """All records in order; several iterators may be at different places."""
        place = 0
        for _ in range(self.count):
            self._file.seek(place)
            line = self._file.readline()
            place = self._file.tell()
            yield parse_record(json.loads(line), "a kept record")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OvsegError(f"expected to write into {shown(self._folder)}: {error.strerror}") from None


def _target(annotations: Annotations, out: Path, options: FormatOptions | None) -> Target:
    """Where the writers write, and of which classes. Raises UsageError where there are none."""
    if not annotations.names:
        raise UsageError("expected annotations with classes, got none")
    return Target(
        out,
        annotations.names,
        annotations.background,
        annotations.stuff,
        f"ovseg {ovseg.__version__}",
        # Foreign annotations may share pixels, which only the writer of the picture can sort out.
        replace(options or FormatOptions(), overlaps=True),
        annotations.skipped,
    )


def _new_writers(formats: str | Sequence[str], target: Target) -> list[Writer]:
    """The writers of some formats, whose folders are new or empty. Raises UsageError."""
    made = writers_of(formats, target)
    for writer in made:
        if writer.folder.is_dir() and any(writer.folder.iterdir()):
            raise UsageError(f"expected no files of an earlier conversion, {shown(writer.folder)} holds some")
    return made


def readable(annotations: Annotations) -> Iterator[Record]:
    """The records that can be read; the others are counted, each with its error."""
    records = annotations.records()
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except DataError as error:
            annotations.skipped.failed("images whose annotations cannot be read", error)
        else:
            yield record


def distinct(records: Iterator[Record]) -> Iterator[Record]:
    """The records with stems that are safe as paths below a folder, no two alike.

    >>> two = [Record("../a.jpg", (1, 1)), Record("a.png", (1, 1))]
    >>> [record.stem for record in distinct(iter(two))]
    ['a', 'a.png']
    """
    taken: set[str] = set()
    for record in records:
        name = safe_name(record.name)
        choices = [safe_name(record.stem), without_ending(name), name]
        stem = next((one for one in choices if one not in taken), name)
        number = 1
        while stem in taken:
            number += 1
            stem = f"{name}_{number}"
        taken.add(stem)
        yield record if stem == record.stem else replace(record, stem=stem)


def safe_name(name: str) -> str:
    """Turn a name from a foreign file into a relative path that stays below its folder.

    >>> safe_name("/etc/../a//b.jpg"), safe_name("..\\\\.."), safe_name("a.json/b.jpg")
    ('etc/a/b.jpg', 'image', 'a.json_/b.jpg')
    """
    parts = [part for part in re.split(r"[/\\]", name.replace("\0", "")) if part not in ("", ".", "..")]
    return apart(cut_name("/".join(map(cut_name, parts)))) or "image"
