"""Ultralytics' segmentation data set: data.yaml, images/, labels/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import yaml

from ovseg.annotation.readers.base import Annotations, Source, box_mask, files_below, image_size, reading
from ovseg.annotation.records import Mask, Record, Region
from ovseg.errors import DataError, one_line
from ovseg.files.find import suffixes
from ovseg.files.paths import shown

WHAT = "Ultralytics' labels"


def read_yolo(source: Source) -> Annotations:
    """Rows of polygons, filled as Ultralytics does, or of boxes. Raises DataError."""
    path = source.path / "data.yaml" if source.path.is_dir() else source.path
    with reading(path, WHAT):
        names = source.names or _names(path.read_text(encoding="utf-8"))
    labels, images = path.parent / "labels", source.images or path.parent / "images"

    def records() -> Iterator[Record]:
        for file in files_below(labels, ".txt"):
            stem = file.relative_to(labels).as_posix().removesuffix(".txt")
            with reading(file, WHAT):
                image = _image(images, stem)
                size = image_size(image)
                rows = file.read_text(encoding="utf-8").splitlines()
                regions = tuple(_region(row.split(), names, size) for row in rows if row.strip())
            name = image.relative_to(images).as_posix()
            yield Record(name, size, regions, stem, str(image.absolute()))

    return Annotations(names, records, format="yolo")


def _names(text: str) -> tuple[str, ...]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"expected data.yaml as YAML: {one_line(error)}") from None
    found = content["names"] if isinstance(content, dict) else None
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found)]
    if not isinstance(found, list) or not found:
        raise DataError("expected names in data.yaml, got none")
    return tuple(str(name) for name in found)


def _image(images: Path, stem: str) -> Path:
    """The image of a label file: the same name with any ending of an image."""
    for ending in sorted(suffixes()):
        for path in (images / f"{stem}{ending}", images / f"{stem}{ending.upper()}"):
            if path.is_file():
                return path
    raise DataError(f"expected the image of {stem} in {shown(images)}, it has none")


def _region(row: list[str], names: tuple[str, ...], size: tuple[int, int]) -> Region:
    index, values = int(row[0]), np.array(row[1:], np.float64)
    if not 0 <= index < len(names):
        raise DataError(f"expected a class below {len(names)}, got {index}")
    height, width = size
    if len(values) == 4:  # a box: centre, width, height
        x, y, w, h = values * [width, height, width, height]
        return Region(names[index], Mask.of(box_mask(size, [x - w / 2, y - h / 2, x + w / 2, y + h / 2])))
    if len(values) < 6 or len(values) % 2 or not np.isfinite(values).all() or np.abs(values).max() > 4:
        raise DataError(f"expected a class and at least three points in 0..1, got {' '.join(row[:8])}")
    points = (values.reshape(-1, 2) * [width, height]).astype(np.int32)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [points], (1,))
    return Region(names[index], Mask.of(mask.astype(bool)))
