"""COCO's instances and panoptic files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovseg.annotation.readers.base import Annotations, Source, number, polygon_mask, read_json, reading
from ovseg.annotation.records import Mask, Record, Region, check_size
from ovseg.errors import DataError
from ovseg.files.paths import shown

WHAT = "COCO's annotations"


def read_coco(source: Source) -> Annotations:
    """Instances; polygons, run lengths as text or numbers. Crowds become void. Raises DataError."""
    path = source.path / "instances.json" if source.path.is_dir() else source.path
    content: Any = read_json(path, WHAT)
    with reading(path, WHAT):
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        images = sorted(content["images"], key=lambda one: str(one["file_name"]))
        found = defaultdict(list)
        for one in content["annotations"]:
            found[one["image_id"]].append(one)

    def records() -> Iterator[Record]:
        for image in images:
            with reading(path, WHAT):
                record = _record(image, found[image["id"]], names, source)
            yield record

    return Annotations(tuple(dict.fromkeys(names.values())), records, format="coco")


def read_panoptic(source: Source) -> Annotations:
    """Panoptic segments; the PNG files lie in a folder of the JSON's name beside it. Raises DataError."""
    path = source.path / "panoptic.json" if source.path.is_dir() else source.path
    content: Any = read_json(path, WHAT)
    with reading(path, WHAT):
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        things = {one["id"]: one.get("isthing", 1) for one in content["categories"]}
        images = {one["id"]: one for one in content["images"]}
        found = sorted(content["annotations"], key=lambda one: str(images[one["image_id"]]["file_name"]))

    def records() -> Iterator[Record]:
        for one in found:
            with reading(path, WHAT):
                image = images[one["image_id"]]
                size = check_size((image["height"], image["width"]), shown(path))
                name = str(image["file_name"])
                regions = tuple(
                    _segments(_png(path, str(one["file_name"])), one["segments_info"], names, size)
                )
            yield Record(name, size, regions, image=source.image(name))

    stuff = not any(things.values())
    return Annotations(tuple(dict.fromkeys(names.values())), records, stuff, "coco-panoptic")


def _record(image: Any, annotations: list[Any], names: dict[object, str], source: Source) -> Record:
    name = str(image["file_name"])
    size = check_size((image["height"], image["width"]), name)
    regions: list[Region] = []
    crowd = np.zeros(size, bool)
    for one in annotations:
        mask = segmentation_mask(one["segmentation"], size)
        if one.get("iscrowd"):
            crowd |= mask.array()
            continue
        regions.append(_region(names[one["category_id"]], mask, one))
    void = Mask.of(crowd) if crowd.any() else None
    return Record(name, size, tuple(regions), image=source.image(name), void=void)


def _region(label: str, mask: Mask, one: Any) -> Region:
    extra = one.get("attributes")
    details = extra if isinstance(extra, dict) else {}
    texts = {key: details.get(key) for key in ("prompt", "method")}
    known = {key: value for key, value in texts.items() if isinstance(value, str)}
    return Region(label, mask, number(one.get("score", details.get("score"))), **known)


def segmentation_mask(segmentation: object, size: tuple[int, int]) -> Mask:
    """A mask from COCO's polygons, or run lengths as text or numbers. Raises DataError."""
    if isinstance(segmentation, list):
        return polygon_mask(size, segmentation)
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if tuple(segmentation["size"]) != size:
            raise DataError(f"expected a mask of {size}, got one of {segmentation['size']}")
        return Mask.of_runs(size, counts) if isinstance(counts, list) else Mask(size, str(counts)).checked()
    raise DataError(f"expected polygons or run lengths, got {type(segmentation).__name__}")


def _png(path: Path, name: str) -> np.ndarray:
    folders = [path.with_suffix(""), path.parent]
    file = next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
    with Image.open(file) as image:
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def _segments(
    ids: np.ndarray, segments: list[Any], names: dict[object, str], size: tuple[int, int]
) -> Iterator[Region]:
    if ids.shape != size:
        raise DataError(f"expected a PNG of {size[1]} x {size[0]}, got {ids.shape[1]} x {ids.shape[0]}")
    for one in segments:
        mask = Mask.of(ids == int(one["id"]))
        if mask.area and not one.get("iscrowd"):
            yield _region(names[one["category_id"]], mask, one)
