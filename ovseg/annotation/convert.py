"""Convert annotations between formats, with the readers and writers of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import ovseg
from ovseg.annotation.formats import Annotations, Target, writers_of
from ovseg.annotation.records import Record, without_ending
from ovseg.errors import UsageError
from ovseg.files.find import cut_name
from ovseg.files.paths import shown
from ovseg.files.write import make_folder
from ovseg.options import FormatOptions


def convert(
    annotations: Annotations,
    out: str | os.PathLike[str],
    formats: str | Sequence[str],
    options: FormatOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write annotations in other formats, each in a new folder of its name below ``out``.

    Content that a reader or format does not support is left out and counted in ``annotations.skipped``.

    Args:
        annotations: what ``read_annotations`` gives.
        out: the folder.
        formats: names of ``ovseg.options.FORMATS``.
        options: the choices of the formats.
        progress: called with the number of images done.

    Returns:
        The number of images.

    Raises:
        UsageError: a format is unknown or cannot hold the classes, there are none, or the folder of a format
            has files already, whose numbers may mean other classes.
        DataError: an annotation cannot be read.
        OvsegError: a file cannot be written.
    """
    if not annotations.names:
        raise UsageError("expected annotations with classes, got none")
    target = Target(
        Path(out),
        annotations.names,
        annotations.background,
        annotations.stuff,
        f"ovseg {ovseg.__version__}",
        # Foreign annotations may share pixels, which only the writer of the picture can sort out.
        replace(options or FormatOptions(), overlaps=True),
        annotations.skipped,
    )
    made = writers_of(formats, target)
    for writer in made:
        if writer.folder.is_dir() and any(writer.folder.iterdir()):
            raise UsageError(f"expected no files of an earlier conversion, {shown(writer.folder)} holds some")
    make_folder(Path(out))
    count = 0
    for record in distinct(annotations.records()):
        for writer in made:
            writer.write(record)
        count += 1
        if progress is not None:
            progress(count)
    for writer in made:
        writer.finish(lambda: distinct(annotations.records()))
    return count


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

    >>> safe_name("/etc/../a//b.jpg"), safe_name("..\\\\..")
    ('etc/a/b.jpg', 'image')
    """
    parts = [part for part in re.split(r"[/\\]", name.replace("\0", "")) if part not in ("", ".", "..")]
    return cut_name("/".join(parts)) or "image"
