"""LabelMe's JSON files, one an image."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.annotation.readers.base import (
    Annotations,
    Source,
    drawn_mask,
    files_below,
    number,
    read_json,
    reading,
)
from ovseg.annotation.records import Mask, Record, Region, check_size
from ovseg.errors import DataError
from ovseg.files.paths import shown

WHAT = "a file of LabelMe"
NO_AREA = ("point", "points", "line", "linestrip")


def read_labelme(source: Source) -> Annotations:
    """Masks, polygons, rectangles and circles; shapes of one label and group are one object.

    Raises:
        DataError: a file is something else.
    """
    root = source.path if source.path.is_dir() else source.path.parent
    files = files_below(root, ".json") if source.path.is_dir() else [source.path]
    names: dict[str, None] = {}
    for file in files:
        content: Any = read_json(file, WHAT)
        with reading(file, WHAT):
            names |= dict.fromkeys(str(shape["label"]) for shape in content["shapes"])

    def records() -> Iterator[Record]:
        for file in files:
            content: Any = read_json(file, WHAT)
            with reading(file, WHAT):
                record = _record(content, file, root, source)
            yield record

    listed = source.names or _listed(root) or tuple(sorted(names))
    extra = tuple(sorted(set(names) - set(listed)))
    return Annotations((*listed, *extra), records, format="labelme")


def _listed(root: Path) -> tuple[str, ...]:
    """The names of labels.txt, which LabelMe's own tools read too."""
    path = root / "labels.txt"
    if not path.is_file():
        return ()
    with reading(path, "a list of labels"):
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _record(content: Any, file: Path, root: Path, source: Source) -> Record:
    size = check_size((content["imageHeight"], content["imageWidth"]), shown(file))
    path = str(content["imagePath"]).replace("\\", "/")
    stem = file.relative_to(root).as_posix().removesuffix(".json")
    name = stem + PurePosixPath(path).suffix
    image = source.image(name) or (
        str((file.parent / path).resolve()) if (file.parent / path).is_file() else None
    )
    grouped: dict[tuple[object, ...], tuple[str, NDArray[np.bool_], float | None]] = {}
    for place, shape in enumerate(content["shapes"]):
        if shape.get("shape_type", "polygon") in NO_AREA:
            continue
        label, group = str(shape["label"]), shape.get("group_id")
        key = (place,) if group is None else (label, str(group), "group")
        mask = _mask(shape, size)
        before = grouped.get(key)
        score = number(shape.get("score")) if before is None else before[2]
        grouped[key] = (label, mask if before is None else before[1] | mask, score)
    regions = tuple(Region(label, Mask.of(mask), score) for label, mask, score in grouped.values())
    return Record(name, size, regions, stem, image)


def _mask(shape: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    kind, points = shape.get("shape_type", "polygon"), shape["points"]
    if kind == "mask":
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"], validate=True))) as image:
            crop = np.asarray(image.convert("L")) > 0
        x, y = (round(float(side)) for side in points[0])
        out = np.zeros(size, bool)
        if x < 0 or y < 0 or out[y : y + crop.shape[0], x : x + crop.shape[1]].shape != crop.shape:
            raise DataError(f"expected a mask inside {size[1]} x {size[0]}, got one at {x}, {y}")
        out[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return out
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        return drawn_mask(size, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if kind == "circle":
        (x, y), (u, v) = points
        rows, columns = np.mgrid[: size[0], : size[1]]
        return np.asarray(np.hypot(columns - x, rows - y) <= math.hypot(u - x, v - y))
    if kind in ("polygon", "rotation", "oriented_rectangle"):
        return drawn_mask(size, points)
    raise DataError(f"expected a mask, polygon, rectangle or circle, got {kind!r}")
