"""What every reader gives, and what several of them need."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.records import Record, Region
from ovseg.errors import DataError, OvsegError
from ovseg.files.find import suffixes
from ovseg.files.paths import shown
from ovseg.results.coco import Mask
from ovseg.words.names import fold

Item = TypeVar("Item")
FOREIGN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, SyntaxError)
"""What reading a file raises that holds something else than it should."""


class Skipped:
    """Counts what was left out, by its kind and the place where it stands.

    >>> skipped = Skipped()
    >>> skipped.add("shapes 'line'", "a.json, shape 2")
    >>> skipped.add("shapes 'line'", "a.json, shape 7")
    >>> skipped.lines()
    ["left out shapes 'line': 2, the first in a.json, shape 2"]
    """

    def __init__(self) -> None:
        self._places: dict[str, dict[str, None]] = {}  # places once each: files are read more than once

    def add(self, kind: str, place: str) -> None:
        """Count something at a place, which no other of its kind has."""
        self._places.setdefault(kind, {})[place] = None

    def __bool__(self) -> bool:
        return bool(self._places)

    def lines(self) -> list[str]:
        """A line for each kind, for people."""
        return [
            f"left out {kind}: {len(places)}, the first in {next(iter(places))}"
            for kind, places in self._places.items()
        ]


@dataclass(frozen=True)
class Annotations:
    """Annotated images of any format.

    Attributes:
        names: every class in order.
        records: the images in the order of their names, from the start at each call.
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


class Objects:
    """Collects the regions of one image, the later ones on top; parts of one group become one object.

    Args:
        skipped: counts what is left out.
        place: the image as messages name it.
    """

    def __init__(self, skipped: Skipped, place: str) -> None:
        self.skipped, self.place = skipped, place
        self._parts: dict[object, list[Region]] = {}
        self._void: list[Mask] = []

    def add(self, number: object, region: Region, group: object = None) -> None:
        """Add the entry with this number; regions of one label and one group form one object."""
        if not region.mask.area:
            self.skip(number, "objects without a pixel")
            return
        key = ("alone", number, region.label) if group is None else ("group", str(group), region.label)
        self._parts.setdefault(key, []).append(region)

    def skip(self, number: object, kind: str) -> None:
        """Count the entry with this number as left out."""
        self.skipped.add(kind, f"{self.place}, number {number}")

    def hide(self, mask: Mask) -> None:
        """Add void pixels."""
        self._void.append(mask)

    def record(self, name: str, size: tuple[int, int], image: str | None, stem: str = "") -> Record:
        """The image with its objects, in the order of their first parts."""
        regions = tuple(
            replace(parts[0], mask=Mask.union([part.mask for part in parts]))
            for parts in self._parts.values()
        )
        void = Mask.union(self._void) if self._void else None
        return Record(name, size, regions, stem, image, void=void)


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
        """The place and the content of a JSON file that was named, or lies in the folder. Raises DataError."""
        path = self.file(name)
        return path, read_json(path, what)

    def objects(self, place: str) -> Objects:
        """A collector for the objects of an image, which messages call ``place``."""
        return Objects(self.skipped, place)

    def image(self, name: str) -> str | None:
        """The absolute path of an image below ``images``; None where there is none."""
        if self.images is None or "\0" in name:
            return None
        root, path = os.path.abspath(self.images), os.path.abspath(self.images / name)
        return path if os.path.commonpath([root, path]) == root and os.path.isfile(path) else None


def records_of(
    items: Sequence[Item], make: Callable[[Item], Record], what: str, path: Path | None = None
) -> Callable[[], Iterator[Record]]:
    """The records that are made of some items, one at a time; what fails is a DataError that names the file.

    Args:
        items: files, or parts of one file.
        make: makes a record of an item.
        what: what the file should hold, for messages.
        path: the file; None where the items are files.
    """

    def records() -> Iterator[Record]:
        for item in items:
            with reading(Path(str(item)) if path is None else path, what):
                record = make(item)
            yield record

    return records


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
    """The files of a folder and those below it with an ending, sorted by their paths; hidden ones left out.

    Raises DataError where there is none.
    """
    found = [
        path
        for path in folder.rglob(f"*{ending}")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise DataError(f"expected files ending in {ending} in {shown(folder)}, it has none")
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


def label_record(
    name: str, labels: NDArray[np.integer], names: dict[int, str], void: set[int], image: str | None = None
) -> Record:
    """A label map (H, W) as a record: one region for each value that has a name.

    Args:
        name: of the image.
        labels: the values.
        names: the class of each value; values that are neither here nor in ``void`` are no object.
        void: values of pixels of which nothing is known.
        image: where the image lies.
    """
    size = (labels.shape[0], labels.shape[1])
    found = np.unique(labels).tolist()
    regions = tuple(Region(names[value], Mask.of(labels == value)) for value in found if value in names)
    unknown = [value for value in found if value in void]
    mask = Mask.of(np.isin(labels, unknown)) if unknown else None
    return Record(name, size, regions, image=image, void=mask)


def as_score(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    return None
