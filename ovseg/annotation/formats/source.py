"""What every reader gives, and what several of them need."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ovseg.annotation.formats.objects import Objects, Skipped
from ovseg.annotation.records import Record
from ovseg.errors import DataError, OvsegError
from ovseg.files.find import suffixes
from ovseg.files.paths import shown
from ovseg.words.names import fold

Item = TypeVar("Item")
FOREIGN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, SyntaxError)
"""What reading a file raises that holds something else than it should."""


@dataclass(frozen=True)
class Annotations:
    """Annotated images of any format.

    Attributes:
        names: every class in order.
        records: the images in the order of their names, from the start at each call. An image that cannot be
            read raises DataError, and the iterator goes on with the next image after that.
        stuff: a region is all pixels of a class rather than an object.
        format: the format that was read.
        skipped: content that the reader does not support, complete after ``records`` was exhausted.
        predicted: the regions come from a model and not from annotators.
    """

    names: tuple[str, ...]
    records: Callable[[], Iterator[Record]]
    stuff: bool = False
    format: str = ""
    skipped: Skipped = field(default_factory=Skipped)
    predicted: bool = False

    @property
    def background(self) -> int | None:
        """The index of the class "background", or None."""
        folded = [fold(name) for name in self.names]
        return folded.index("background") if "background" in folded else None


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn any error of reading a foreign file into a DataError that names the file."""
    try:
        yield
    except OvsegError as error:
        said = str(error)
        raise DataError(said if shown(path) in said else f"{shown(path)}: {said}") from None
    except OSError as error:
        raise DataError(f"expected {what}, {shown(path)}: {error.strerror or error}") from None
    except FOREIGN as error:
        raise DataError(
            f"expected {what}, {shown(path)} holds something else ({type(error).__name__}: {error})"
        ) from None


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file. Raises DataError."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"expected {what}, {shown(path)} is no file")
    with reading(path, what):
        return json.loads(path.read_bytes())


@dataclass(frozen=True)
class Source:
    """The place of annotations, and facts that the files do not contain.

    Attributes:
        path: the file or folder.
        images: the folder of the images; None where it is not known.
        names: the classes in order, for formats whose files hold numbers; None where it is not known.
        skipped: counts content that the reader does not support.
    """

    path: Path
    images: Path | None = None
    names: tuple[str, ...] | None = None
    skipped: Skipped = field(default_factory=Skipped)

    def file(self, name: str) -> Path:
        """The file that was named, or the one of this name in the folder that was named."""
        return self.path / name if self.path.is_dir() else self.path

    def json(self, name: str, what: str) -> tuple[Path, Any]:
        """The place and the content of a JSON file: the one that was named, or of this name in the folder.

        Raises DataError.
        """
        path = self.file(name)
        if self.path.is_dir() and not os.path.lexists(path):
            path = only_json(self.path) or path
        return path, read_json(path, what)

    def objects(self, place: str) -> Objects:
        """A collector for the objects of an image, which messages call ``place``."""
        return Objects(self.skipped, place)

    def name(self, text: object) -> str:
        """An image's path as a file states it, with "/" between folders, also where Windows wrote it.

        >>> Source(Path()).name("C:\\\\photos\\\\a.jpg")
        'photos/a.jpg'
        """
        name = str(text).translate(_UNPAIRED)
        if "\\" in name and not self.has(name):
            name = _DRIVE.sub("", name.replace("\\", "/"))
        return name

    def has(self, name: str) -> bool:
        """Whether there is an image of this name below ``images``."""
        return self._below(name) is not None

    def image(self, name: str) -> str | None:
        """The absolute path of an image below ``images``; one that is not there is counted."""
        path = self._below(name)
        if path is None and self.images is not None:
            self.skipped.add(f"links to images that are not in {shown(self.images)}", shown(name))
        return path

    def _below(self, name: str) -> str | None:
        if self.images is None or "\0" in name:
            return None
        root, path = os.path.abspath(self.images), os.path.abspath(self.images / name)
        return path if os.path.commonpath([root, path]) == root and os.path.isfile(path) else None


_DRIVE = re.compile("^[A-Za-z]:/+")
_UNPAIRED = {code: "\ufffd" for code in range(0xD800, 0xE000) if not 0xDC80 <= code <= 0xDCFF}
"""Halves of characters, which JSON can hold and no file name; Python uses the others for bytes of names."""


def only_json(folder: Path) -> Path | None:
    """The JSON file below a folder if there is exactly one, as in CVAT's and Roboflow's exports of COCO."""
    found = list(islice((path for path in folder.rglob("*.json") if path.is_file()), 2))
    return found[0] if len(found) == 1 else None


def records_of(
    items: Sequence[Item], make: Callable[[Item], Record], what: str, path: Path | None = None
) -> Callable[[], Iterator[Record]]:
    """The records that are made of some items, one at a time, as ``Annotations.records`` are.

    Args:
        items: files, or parts of one file.
        make: makes a record of an item.
        what: what the file should hold, for messages.
        path: the file; None where the items are files.
    """

    def checked(item: Item) -> Record:
        with reading(Path(str(item)) if path is None else path, what):
            return make(item)

    return lambda: map(checked, items)  # a generator would end with the first error


def read_names(path: Path) -> tuple[str, ...]:
    """The names of a text file, one a line; none where there is no such file. Raises DataError."""
    if not path.is_file():
        return ()
    with reading(path, "a list of classes"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return tuple(line.strip() for line in lines if line.strip())


def with_others(names: Iterable[str], used: Iterable[str]) -> tuple[str, ...]:
    """Names in order, then those that are used and not among them, sorted."""
    listed = tuple(dict.fromkeys(names))
    return (*listed, *sorted(set(used) - set(listed)))


def files_below(folder: Path, ending: str) -> list[Path]:
    """The files with an ending as ``listed`` gives them. Raises DataError where there is none."""
    found = listed(folder, (ending,))
    if not found:
        raise DataError(f"expected files ending in {ending} in {shown(folder)}, it has none")
    return found


def listed(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a folder and those below it with one of some endings, sorted; hidden ones left out."""
    found = [
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(endings)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def stem_below(file: Path, folder: Path) -> str:
    """The path of a file below a folder without its ending, with "/" between folders."""
    return file.relative_to(folder).with_suffix("").as_posix()


def find_image(folders: Sequence[Path], stem: str) -> tuple[str, str | None]:
    """The name and the place of the image with a stem; the place is None where no folder has it."""
    for folder in folders:
        for ending in sorted(suffixes()):
            for path in (folder / f"{stem}{ending}", folder / f"{stem}{ending.upper()}"):
                if path.is_file():
                    return path.relative_to(folder).as_posix(), str(path.absolute())
    return f"{stem}.jpg", None
