"""What every reader gives, and what several of them need."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ovseg.annotation.records import Mask, Record, Region
from ovseg.errors import DataError, OvsegError
from ovseg.files.formats import orientation_of
from ovseg.files.paths import shown
from ovseg.files.pictures import load_image
from ovseg.words.names import fold

FAR = 4
"""A corner of a polygon may lie so many image sides away from the image."""


@dataclass(frozen=True)
class Annotations:
    """Annotated images of any format.

    Attributes:
        names: every class in order.
        records: the images in the order of their names, from the start at each call.
        stuff: regions are all pixels of a class, and not objects.
        format: what it was read as.
    """

    names: tuple[str, ...]
    records: Callable[[], Iterator[Record]]
    stuff: bool = False
    format: str = ""

    @property
    def background(self) -> int | None:
        """The index of the class "background", or None."""
        folded = [fold(name) for name in self.names]
        return folded.index("background") if "background" in folded else None


@dataclass(frozen=True)
class Source:
    """Where annotations lie, and what the files themselves do not say.

    Attributes:
        path: the file or folder.
        images: the folder of the images; None where it is not known.
        names: the classes in order, for formats whose files hold numbers; None where it is not known.
    """

    path: Path
    images: Path | None = None
    names: tuple[str, ...] | None = None

    def image(self, name: str) -> str | None:
        """The absolute path of an image below ``images``; None where there is none."""
        if self.images is None:
            return None
        path = os.path.abspath(self.images / name)
        return path if os.path.isfile(path) else None


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever reading a foreign file raises into one line that names it."""
    try:
        yield
    except OvsegError as error:
        said = str(error)
        raise DataError(said if shown(path) in said else f"{shown(path)}: {said}") from None
    except OSError as error:
        raise DataError(f"expected {what}, {shown(path)}: {error.strerror or error}") from None
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise DataError(
            f"expected {what}, {shown(path)} holds something else ({type(error).__name__}: {error})"
        ) from None


def read_json(path: Path, what: str) -> object:
    """The content of a JSON file. Raises DataError."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"expected {what}, {shown(path)} is no file")
    with reading(path, what):
        return json.loads(path.read_bytes())


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


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) of an upright image; most formats are not decoded. Raises OvsegError."""
    try:
        with Image.open(path) as image:
            if image.format != "TIFF":
                turned = orientation_of(image) >= 5
                return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # what Pillow cannot open, load_image may, or says why not
        pass
    shape = load_image(path).shape
    return shape[0], shape[1]


def polygon_mask(size: tuple[int, int], polygons: Sequence[Sequence[float]]) -> Mask:
    """Polygons x, y, x, y … along pixel edges as one mask, as pycocotools fills them. Raises DataError."""
    from pycocotools import mask as rle

    lists = [_checked(size, polygon).tolist() for polygon in polygons]
    if not lists:
        return Mask.of_runs(size, [size[0] * size[1]])
    coded = rle.merge(rle.frPyObjects(lists, *size))
    return Mask(size, coded["counts"].decode())


def drawn_mask(size: tuple[int, int], xy: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """A polygon of points (x, y) at pixel centres as a mask, outline included, as LabelMe draws it."""
    flat = _checked(size, [side for point in xy for side in point])
    image = Image.new("L", (size[1], size[0]))
    corners = [(float(x), float(y)) for x, y in flat.reshape(-1, 2)]
    ImageDraw.Draw(image).polygon(corners if len(corners) > 1 else corners * 2, outline=1, fill=1)
    return np.asarray(image) > 0


def box_mask(size: tuple[int, int], box: Sequence[float]) -> NDArray[np.bool_]:
    """x0, y0, x1, y1 at pixel edges as a mask of the pixels whose centres are inside."""
    x0, y0, x1, y1 = _checked(size, box)
    mask = np.zeros(size, bool)
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside_y = (rows >= min(y0, y1)) & (rows < max(y0, y1))
    inside_x = (columns >= min(x0, x1)) & (columns < max(x0, x1))
    mask[np.ix_(inside_y, inside_x)] = True
    return mask


def _checked(size: tuple[int, int], sides: Sequence[float]) -> NDArray[np.float64]:
    values = np.array(sides, np.float64).reshape(-1)
    most = FAR * max(size)
    if not values.size or values.size % 2 or not np.isfinite(values).all() or np.abs(values).max() > most:
        raise DataError(
            f"expected corners x, y near an image of {size[1]} x {size[0]}, got {values.tolist()[:8]}"
        )
    return values


def label_record(
    name: str,
    labels: NDArray[np.integer],
    names: dict[int, str],
    void: set[int],
    image: str | None = None,
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


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    return None
