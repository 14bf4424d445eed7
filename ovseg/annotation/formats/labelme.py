"""LabelMe: a JSON an image, with mask or polygon shapes; the files of X-AnyLabeling are read too."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from ovseg.annotation.formats.base import Records, Writer, as_json
from ovseg.annotation.formats.objects import KEPT, Objects, as_score
from ovseg.annotation.formats.shapes import centre_polygons, circle_mask, drawn_mask
from ovseg.annotation.formats.source import (
    Annotations,
    Source,
    files_below,
    read_json,
    read_names,
    reading,
    records_of,
    stem_below,
    with_others,
)
from ovseg.annotation.records import Record, Region, check_size
from ovseg.errors import DataError
from ovseg.files.find import suffixes
from ovseg.files.formats import open_picture, picture_size, upright_size
from ovseg.files.formats import reading as decoding
from ovseg.files.paths import shown
from ovseg.results.coco import Mask

WHAT = "a file of LabelMe"
IGNORED = "__ignore__"
"""The label of void pixels in LabelMe's own converters."""
OUTLINES = ("polygon", "rotation", "oriented_rectangle", "quadrilateral")
VERSION = "5.5.0"
"""The version of LabelMe's files in which mask shapes are described; later ones read it."""


def read_labelme(source: Source) -> Annotations:
    """Masks, polygons, rectangles and circles; shapes of one label and group are one object.

    Raises:
        DataError: a file is something else.
    """
    root = source.path if source.path.is_dir() else source.path.parent
    files = files_below(root, ".json") if source.path.is_dir() else [source.path]
    used = _labels_of(files)

    def record(file: Path) -> Record:
        content = read_json(file, WHAT)
        path = PurePosixPath(str(content["imagePath"]).replace("\\", "/"))
        stem = stem_below(file, root)
        image = _image(source, root, file, path, stem)
        size = _size(content, image, file)
        objects = source.objects(shown(file))
        objects.skip_extras("of the image", content.get("flags") or {})
        for place, shape in enumerate(content["shapes"], 1):
            label, mask = str(shape["label"]), _mask(shape, size)
            if mask is None:
                objects.skip(place, f"shapes {shape.get('shape_type')!r}")
                continue
            if label == IGNORED:
                objects.hide(mask)
            else:
                known = _described(shape.get("description"), place, objects)
                region = Region(
                    label, mask, as_score(shape.get("score")), known.get("prompt"), known.get("method")
                )
                objects.add(place, region, shape.get("group_id"))
            extras = {"difficult": shape.get("difficult"), **(shape.get("attributes") or {})}
            objects.skip_extras(place, {**extras, **(shape.get("flags") or {})})
        return objects.record(stem + path.suffix, size, image, stem)

    names = with_others(source.names or read_names(root / "labels.txt"), used)
    return Annotations(tuple(name for name in names if name != IGNORED), records_of(files, record, WHAT))


def _labels_of(files: Sequence[Path]) -> set[str]:
    """The labels of all files. Raises DataError where none can be read; the records of others raise it again."""
    used: set[str] = set()
    failed: list[DataError] = []
    for file in files:
        try:
            content = read_json(file, WHAT)
            with reading(file, WHAT):
                used |= {str(shape["label"]) for shape in content["shapes"]}
        except DataError as error:
            failed.append(error)
    if len(failed) == len(files):
        raise failed[0]
    return used


def _image(source: Source, root: Path, file: Path, path: PurePosixPath, stem: str) -> str | None:
    """The image of a file: at its path, which may leave neither the images' folder nor that of the files."""
    if source.images is not None:
        places = (stem + path.suffix, os.path.join(os.path.dirname(stem), path), path.name)
        return source.image(next((one for one in places if source.has(one)), places[0]))
    beside = replace(source, images=root)
    name = os.path.relpath(file.parent / path, root)
    return beside.image(name) if path.suffix.lower() in suffixes() and beside.has(name) else None


def _size(content: Any, image: str | None, file: Path) -> tuple[int, int]:
    """The size that a file states, or else that of its image, which older versions always embed."""
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if height is None and width is None:
        if image is not None:
            return upright_size(Path(image))
        if content.get("imageData"):
            return picture_size(io.BytesIO(base64.b64decode(content["imageData"])), shown(file))
    return check_size((height, width), shown(file))


def _described(text: object, place: int, objects: Objects) -> dict[str, str]:
    """What ovseg wrote into a description: prompt and method. Other descriptions are counted."""
    parts = str(text).split("; ") if text else []
    known = dict(part.split(" ", 1) for part in parts if part.startswith(tuple(f"{key} " for key in KEPT)))
    if len(known) < len(parts):
        objects.skip(place, "descriptions")
    return known


def _mask(shape: Any, size: tuple[int, int]) -> Mask | None:
    """The pixels of a shape; None for one of a kind that has none."""
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "mask":
        return _pasted(shape["mask"], points[0], size)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return drawn_mask(size, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if kind == "circle":
        (x, y), (u, v) = points
        return circle_mask(size, (x, y), math.hypot(u - x, v - y))
    if kind in OUTLINES or (kind == "rectangle" and len(points) == 4):
        return drawn_mask(size, points)
    return None


def _pasted(coded: str, corner: Any, size: tuple[int, int]) -> Mask:
    """A base64 PNG at a corner (x, y)."""
    x, y = (round(float(side)) for side in corner)
    image = open_picture(io.BytesIO(base64.b64decode(coded, validate=True)), "a mask")
    if not (0 <= x <= x + image.width <= size[1] and 0 <= y <= y + image.height <= size[0]):
        raise DataError(f"expected a mask inside {size[1]} x {size[0]}, got {image.size} at {x}, {y}")
    with decoding("a mask"):
        crop = np.asarray(image.convert("L")) > 0
    return Mask.of_crop(crop, (x, y), size)


class LabelMe(Writer):
    """``NAME.json``; shapes are masks, or polygons for X-AnyLabeling, which reads no masks."""

    name = "labelme"
    holds_void = True

    @property
    def key(self) -> str:
        return f"{self.name} {self.target.options.shape}"

    def write(self, record: Record) -> None:
        path = self.path(f"{record.stem}.json")
        image = record.name if record.image is None else os.path.relpath(record.image, path.parent)
        make = _polygons if self.target.options.shape == "polygon" else _mask_shape
        regions = self.regions(record)
        if record.void is not None and record.void.area:
            regions.append(Region(IGNORED, record.void))
        content: dict[str, object] = {
            "version": VERSION,
            "flags": {},
            "shapes": [shape for k, one in enumerate(regions, 1) for shape in make(one, k)],
            "imagePath": image.replace(os.sep, "/"),
            "imageData": None,
            "imageHeight": record.size[0],
            "imageWidth": record.size[1],
        }
        self.save(f"{record.stem}.json", [as_json(content), "\n"])

    def finish(self, records: Records) -> None:
        names = (" ".join(name.split()) for name in self.target.objects)
        self.save("labels.txt", ["".join(f"{name}\n" for name in names)])


def _shape(
    one: Region, group: int, kind: str, points: list[list[float]], mask: str | None = None
) -> dict[str, object]:
    return {
        "label": one.label,
        "points": points,
        "group_id": group,
        "description": "; ".join(f"{key} {value}" for key, value in one.known().items()),
        "shape_type": kind,
        "flags": {},
        "mask": mask,
        **({} if one.score is None else {"score": one.score}),
    }


def _mask_shape(one: Region, group: int) -> list[dict[str, object]]:
    x0, y0, x1, y1 = one.mask.box
    file = io.BytesIO()
    Image.fromarray(one.mask.array()[y0:y1, x0:x1].astype(np.uint8) * 255).convert("1").save(file, "PNG")
    corners: list[list[float]] = [[x0, y0], [x1 - 1, y1 - 1]]  # both inside
    return [_shape(one, group, "mask", corners, base64.b64encode(file.getvalue()).decode())]


def _polygons(one: Region, group: int) -> list[dict[str, object]]:
    """A polygon per part, in one group; the last point is repeated to make three."""
    parts = [[list(point) for point in part] for part in centre_polygons(one.mask.array())]
    return [_shape(one, group, "polygon", part + [part[-1]] * (3 - len(part))) for part in parts]
