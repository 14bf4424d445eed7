"""Formats of annotation files, one file each: its reader makes records, its writer makes files of records.

A new format is one file and one row of ``TABLE``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ovseg.annotation.classes import read_classes
from ovseg.annotation.formats.base import Target, Writer
from ovseg.annotation.formats.coco import Coco, CocoPanoptic, read_coco, read_panoptic
from ovseg.annotation.formats.cvat import Cvat, read_cvat
from ovseg.annotation.formats.label_maps import Cityscapes, Mmseg, read_cityscapes, read_mmseg
from ovseg.annotation.formats.label_studio import LabelStudio, read_label_studio
from ovseg.annotation.formats.labelme import LabelMe, read_labelme
from ovseg.annotation.formats.objects import fitting
from ovseg.annotation.formats.source import Annotations, Source, only_json
from ovseg.annotation.formats.voc import FOLDERS, Voc, read_voc
from ovseg.annotation.formats.yolo import FACTS, Yolo, read_yolo
from ovseg.annotation.records import Record
from ovseg.annotation.run.folder import RUN, read_run
from ovseg.errors import DataError, UsageError
from ovseg.files.paths import expand, shown
from ovseg.options.checks import check_choice, check_words


class Format(NamedTuple):
    """A format: its writer, its reader, and files or folders by which a folder of it is known."""

    writer: type[Writer]
    read: Callable[[Source], Annotations]
    marks: tuple[str, ...] = ()


TABLE = (
    Format(Coco, read_coco, ("instances.json",)),
    Format(CocoPanoptic, read_panoptic, ("panoptic.json",)),
    Format(Yolo, read_yolo, (*FACTS, "labels/classes.txt")),
    Format(LabelMe, read_labelme),
    Format(LabelStudio, read_label_studio, ("tasks.json",)),
    Format(Cvat, read_cvat, ("annotations.xml",)),
    Format(Voc, read_voc, FOLDERS),
    Format(Mmseg, read_mmseg, ("dataset.py", "classes.txt")),
    Format(Cityscapes, read_cityscapes),
)
WRITERS: dict[str, type[Writer]] = {row.writer.name: row.writer for row in TABLE}
"""The writer of each format."""


def writers_of(formats: str | Sequence[str], target: Target) -> list[Writer]:
    """The writers of some formats, each in a folder of its name below the target's.

    Raises:
        UsageError: a format is unknown or cannot hold the classes.
    """
    listed = dict.fromkeys(check_words("formats", formats))
    for name in listed:
        check_choice("format", name, tuple(WRITERS))
    return [WRITERS[name](replace(target, folder=target.folder / name)) for name in listed]


def read_run_folder(source: Source) -> Annotations:
    """The records of a run folder, also while the run goes on. Raises DataError."""
    info, records, _ = read_run(source.path)
    if source.images is None:
        return Annotations(info.names, records, info.task == "labels")

    def moved(record: Record) -> Record:
        image = fitting(source.image(record.name), record.size, source.skipped)
        return replace(record, image=image)

    return Annotations(info.names, lambda: map(moved, records()), info.task == "labels")


READERS: dict[str, Callable[[Source], Annotations]] = {
    "run": read_run_folder,
    **{row.writer.name: row.read for row in TABLE},
}
"""The reader of each format; "run" is a folder of ``ovseg annotate``."""


def read_annotations(
    path: str | os.PathLike[str],
    kind: str | None = None,
    images: str | os.PathLike[str] | None = None,
    classes: str | os.PathLike[str] | None = None,
) -> Annotations:
    """Annotations of any format.

    Args:
        path: a run folder, or a file or folder of one of the formats.
        kind: a name of ``READERS``; None to tell it by the files.
        images: the folder of the images, where the format needs it or links to images are wanted.
        classes: the classes in order, where the files hold numbers only; as ``read_classes`` takes them.

    Raises:
        UsageError: the path does not exist, or its format cannot be told.
        DataError: a file is damaged or something else.
    """
    place = expand(path)
    if not os.path.isfile(place) and not os.path.isdir(place):  # a pipe would be waited for without end
        reason = "is no file or folder" if os.path.exists(place) else "does not exist"
        raise UsageError(f"expected annotations, {shown(place)} {reason}")
    if kind is None:
        kind = guess_format(place)
    else:
        check_choice("format", kind, tuple(READERS))
    names = None if classes is None else read_classes(classes).names
    source = Source(place, None if images is None else expand(images), names)
    return replace(READERS[kind](source), format=kind, skipped=source.skipped)


def guess_format(path: Path) -> str:
    """The format of a file or folder, by what it is called and holds.

    Raises:
        UsageError: it cannot be told.
    """
    if path.is_dir():
        marks = {RUN: "run", **{mark: row.writer.name for row in TABLE for mark in row.marks}}
        for mark, kind in marks.items():
            if (path / mark).exists():
                is_yolo = mark == "classes.txt" and next((path / "labels").rglob("*.txt"), None) is not None
                return "yolo" if is_yolo else kind  # Label Studio's YOLO has its classes in classes.txt
        if next(path.rglob("*_labelIds.png"), None) is not None:
            return "cityscapes"
        if (only := only_json(path)) is not None:
            return _json_kind(only)
        if next(path.rglob("*.json"), None) is not None:
            return "labelme"
    elif path.suffix == ".xml":
        return "cvat"
    elif path.suffix in (".yaml", ".yml"):
        return "yolo"
    elif path.suffix == ".json":
        return _json_kind(path)
    known = ", ".join(READERS)
    raise UsageError(f"cannot tell the format of {shown(path)}: expected it named, one of {known}")


def _json_kind(path: Path) -> str:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise DataError(f"expected annotations as JSON, {shown(path)} is none") from None
    if isinstance(content, list):
        is_coco = bool(content) and isinstance(content[0], dict) and "image_id" in content[0]
        return "coco" if is_coco else "label-studio"  # COCO's results, whose reader says what is missing
    if isinstance(content, dict) and "shapes" in content:
        return "labelme"
    first = content.get("annotations") if isinstance(content, dict) else None
    if isinstance(first, list) and first and isinstance(first[0], dict) and "segments_info" in first[0]:
        return "coco-panoptic"
    return "coco"


__all__ = [
    "READERS",
    "WRITERS",
    "Annotations",
    "Target",
    "Writer",
    "guess_format",
    "writers_of",
    "read_annotations",
]
