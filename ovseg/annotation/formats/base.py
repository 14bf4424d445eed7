"""Base of the writers: files of each image during a run, and files of the data set at its end."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar, TypeAlias
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats.objects import Skipped
from ovseg.annotation.records import Record, Region
from ovseg.errors import OvsegError
from ovseg.files.paths import shown
from ovseg.files.write import make_folder, write_file
from ovseg.options import FormatOptions
from ovseg.results.figures import palette

Records: TypeAlias = "Callable[[], Iterator[Record]]"
"""Every record of a run in the order of the images' names, from the start at each call."""


@dataclass(frozen=True)
class Target:
    """Where a writer writes, and the classes and options of the data set.

    Attributes:
        folder: the folder of the files.
        names: every class in order, including "background".
        background: the index of the class "background", or None.
        stuff: a region is all pixels of a class rather than an object.
        source: the program that made the annotations, for tools that show it.
        options: the choices of the formats.
        skipped: counts content that a format does not support.
    """

    folder: Path
    names: tuple[str, ...]
    background: int | None = None
    stuff: bool = False
    source: str = "ovseg"
    options: FormatOptions = field(default_factory=FormatOptions)
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def objects(self) -> tuple[str, ...]:
        """The classes that are written as objects: all but "background"."""
        return tuple(name for index, name in enumerate(self.names) if index != self.background)


def image_name(record: Record) -> str:
    """The image's path in the folder of a format: the stem of its other files, and its own ending."""
    return record.stem + PurePosixPath(record.name).suffix


class Writer(ABC):
    """One format. Writing an image again gives the same bytes, so a run may be repeated at any place.

    Attributes:
        name: what ``--format`` calls it.
        holds_void: void pixels are written, or mean the same as pixels without an object.
    """

    name: ClassVar[str]
    holds_void: ClassVar[bool] = False

    def __init__(self, target: Target) -> None:
        self.target = target
        self.folder = target.folder
        self.index = {name: number for number, name in enumerate(target.objects)}
        self.check()

    @property
    def key(self) -> str:
        """The format with the choices that change an image's own files."""
        return self.name

    def check(self) -> None:  # noqa: B027 - most formats hold any classes
        """Raise UsageError where the format cannot hold these classes."""

    def write(self, record: Record) -> None:  # noqa: B027 - some formats have files of all images only
        """Write the files of one image. Raises OvsegError where one cannot be written."""

    @abstractmethod
    def finish(self, records: Records) -> None:
        """Write the files that cover the whole data set. Raises OvsegError where one cannot be written."""

    def regions(self, record: Record) -> list[Region]:
        """The regions of a record that are objects: no background, and none without pixels."""
        return [one for one in record.regions if one.label in self.index and one.mask.area]

    def path(self, *parts: str) -> Path:
        """A file below the format's folder, whose own folder is made."""
        path = self.folder.joinpath(*parts)
        make_folder(path.parent)
        return path

    def save(self, place: str, parts: Iterable[str]) -> None:
        """Write a text below the format's folder part by part. Raises OvsegError where that fails."""
        write_text(self.path(place), parts)

    def link(self, record: Record, place: str) -> None:
        """Place the image where a tool expects it: as a link, or as a copy on file systems without links.

        Raises OvsegError if both fail.
        """
        if record.image is None:
            return
        path = self.path(place)
        if os.path.islink(path) and os.readlink(path) == record.image:
            return
        partial = path.with_name(f".ovseg-{os.getpid()}-{secrets.token_hex(6)}")
        try:
            try:
                os.symlink(record.image, partial)
            except (OSError, NotImplementedError):
                shutil.copyfile(record.image, partial)
            os.replace(partial, path)
        except OSError as error:
            raise OvsegError(f"expected to write {shown(path)}: {error.strerror}") from None
        finally:
            with suppress(OSError):
                partial.unlink()


def write_text(path: Path, parts: Iterable[str]) -> None:
    """Write UTF-8 part by part, whole or not at all; bytes of a file name that are no UTF-8 are escaped."""
    write_file(path, lambda file: file.writelines(part.encode(errors="backslashreplace") for part in parts))


def as_json(content: object) -> str:
    """JSON on one line."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def json_list(items: Iterable[object]) -> Iterator[str]:
    """A JSON list, an item a line."""
    yield "["
    for number, item in enumerate(items):
        yield (",\n" if number else "\n") + as_json(item)
    yield "\n]"


def paint(
    record: Record, values: Mapping[str, int], rest: int, void: int | None, dtype: type[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    """A label map (H, W): the value of each region's class, later regions on top.

    Args:
        record: the image.
        values: the value of each class; regions of other classes are left out.
        rest: the value of pixels without a region.
        void: the value of pixels of which nothing is known; None for ``rest``.
        dtype: np.uint8 or np.uint16.
    """
    labels = np.full(record.size, rest, dtype)
    if record.void is not None and void is not None:
        labels[record.void.array()] = void
    for one in record.regions:
        if one.label in values:
            labels[one.mask.array()] = values[one.label]
    return labels


def hex_colours(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each name with a colour such as "#1f77b4", as XML can hold both."""
    for name, (red, green, blue) in zip(names, palette(len(names)).tolist(), strict=True):
        yield xml_text(name), f"#{red:02x}{green:02x}{blue:02x}"


_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_CODES = {'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


def xml_text(text: str) -> str:
    """A text as XML can hold it, in an element or between double quotation marks."""
    return escape(_NO_XML.sub("\ufffd", text), _XML_CODES)
