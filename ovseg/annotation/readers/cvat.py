"""CVAT's "CVAT for images 1.1"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ovseg.annotation.readers.base import Annotations, Source, box_mask, polygon_mask, reading
from ovseg.annotation.records import Mask, Record, Region, check_size
from ovseg.errors import DataError
from ovseg.files.paths import shown

WHAT = "annotations of CVAT for images"


def read_cvat(source: Source) -> Annotations:
    """Masks, polygons and boxes. Raises DataError."""
    path = source.path / "annotations.xml" if source.path.is_dir() else source.path
    with reading(path, WHAT):
        root = _parsed(path)
        names = tuple(dict.fromkeys(one.text or "" for one in root.findall("meta//label/name")))
        images = sorted(root.findall("image"), key=lambda one: one.attrib["name"])
        used = sorted({child.attrib["label"] for one in images for child in one if "label" in child.attrib})

    def records() -> Iterator[Record]:
        for one in images:
            with reading(path, WHAT):
                name = one.attrib["name"]
                size = check_size((one.attrib["height"], one.attrib["width"]), shown(path))
                regions = tuple(_region(child, size) for child in one if child.tag in MASKS)
            yield Record(name, size, regions, image=source.image(name))

    return Annotations((*names, *(name for name in used if name not in names)), records, format="cvat")


def _parsed(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"expected {WHAT} as XML, {shown(path)} is damaged: {error}") from None


def _region(one: ElementTree.Element, size: tuple[int, int]) -> Region:
    details = {child.attrib["name"]: child.text or "" for child in one.findall("attribute")}
    try:
        score = float(details["score"]) if details.get("score") else None
    except ValueError:
        score = None
    mask = MASKS[one.tag](one.attrib, size)
    return Region(one.attrib["label"], mask, score, details.get("prompt"), details.get("method"))


def _mask(found: dict[str, str], size: tuple[int, int]) -> Mask:
    left, top, width, height = (int(float(found[key])) for key in ("left", "top", "width", "height"))
    runs = np.array(found["rle"].split(","), np.int64)
    inside = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    if not inside or (runs < 0).any() or runs.sum() != width * height:
        raise DataError(f"expected run lengths of {width} x {height} inside the image, got {runs.sum()}")
    out = np.zeros(size, bool)
    crop = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    out[top : top + height, left : left + width] = crop
    return Mask.of(out)


def _polygon(found: dict[str, str], size: tuple[int, int]) -> Mask:
    sides = [float(side) for point in found["points"].split(";") for side in point.split(",")]
    return polygon_mask(size, [sides])


def _box(found: dict[str, str], size: tuple[int, int]) -> Mask:
    return Mask.of(box_mask(size, [float(found[key]) for key in ("xtl", "ytl", "xbr", "ybr")]))


MASKS = {"mask": _mask, "polygon": _polygon, "box": _box}
