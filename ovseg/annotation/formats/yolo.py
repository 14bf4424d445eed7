"""Ultralytics' segmentation data set: labels/NAME.txt, images/, data.yaml."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from ovseg.annotation.formats.base import Records, Writer, image_name
from ovseg.annotation.formats.shapes import Point, box_mask, centre_polygons, filled_mask, join_rings
from ovseg.annotation.formats.source import (
    Annotations,
    Source,
    files_below,
    find_image,
    read_names,
    reading,
    records_of,
    stem_below,
)
from ovseg.annotation.records import Record, Region
from ovseg.errors import DataError, described, one_line
from ovseg.files.formats import upright_size
from ovseg.files.paths import shown
from ovseg.results.coco import Mask

WHAT = "Ultralytics' labels"
LISTED = "classes.txt"
"""A class list that other tools save in the labels' folder."""


def read_yolo(source: Source) -> Annotations:
    """Rows of polygons, filled as Ultralytics does, or of boxes; a number behind them is a confidence.

    Of two objects that share pixels, the smaller one is on top, as Ultralytics has it. Labels lie in a folder
    called ``labels``, or in several, as ``train/labels`` and ``valid/labels``; the images in ``images`` beside
    each. Raises DataError.
    """
    path = source.file("data.yaml")
    names = dict(enumerate(source.names)) if source.names else _names(path)
    root = path.parent
    found = (one for one in sorted(root.rglob("labels")) if one.is_dir())
    folders = [one for one in found if "labels" not in one.relative_to(root).parts[:-1]]
    files = {
        file: folder for folder in folders for file in files_below(folder, ".txt") if file.name != LISTED
    }
    if not files:
        raise DataError(f"expected labels/NAME.txt beside {shown(path)}, there is none")

    def record(file: Path) -> Record:
        folder = files[file]
        images = source.images or folder.parent / "images"
        stem = stem_below(file, folder)
        name, image = find_image([images], stem)
        if image is None:
            raise DataError(f"expected the image of {stem} in {shown(images)}, it has none")
        part = "" if len(folders) == 1 else folder.parent.relative_to(root).as_posix() + "/"
        size = upright_size(Path(image))
        objects = source.objects(shown(file))
        for place, row in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if row.strip():
                objects.add(place, _region(row.split(), names, size))
        found = objects.record(part + name, size, image, part + stem)
        return replace(found, regions=tuple(sorted(found.regions, key=lambda one: -one.mask.area)))

    ordered = tuple(dict.fromkeys(names[index] for index in sorted(names)))
    return Annotations(ordered, records_of(list(files), record, WHAT))


class _Loader(yaml.SafeLoader):
    """Loads plain YAML; rejects aliases, which let a small file expand without limit."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) is not read here")
        return super().compose_node(parent, index)


def _names(path: Path) -> dict[int, str]:
    """The class of each number, from data.yaml or a class list."""
    if not path.is_file():
        listed = read_names(path.parent / "labels" / LISTED) or read_names(path.parent / LISTED)
        if listed:
            return dict(enumerate(listed))
    with reading(path, WHAT):
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except yaml.YAMLError as error:
            raise DataError(f"expected data.yaml as YAML: {one_line(error)}") from None
        found = content.get("names") if isinstance(content, dict) else None
        pairs = (
            enumerate(found) if isinstance(found, list) else found.items() if isinstance(found, dict) else ()
        )
        names = {int(key): name for key, name in pairs}  # numbers may stand in quotation marks
        if not names or not all(isinstance(name, (str, int, float)) for name in names.values()):
            raise DataError(f"expected names of classes in data.yaml, got {described(found)}")
        return {key: str(name) for key, name in names.items()}


def _region(row: list[str], names: dict[int, str], size: tuple[int, int]) -> Region:
    index, values = int(row[0]), np.array(row[1:], np.float64)
    if index not in names:
        raise DataError(f"expected a class that data.yaml names, got {index}")
    score = float(values[-1]) if len(values) % 2 else None
    values = values[: len(values) // 2 * 2]
    sides = values.reshape(-1, 2) * size[::-1]
    if len(values) == 4:  # a box: centre, width and height
        (x, y), (w, h) = sides.tolist()
        mask = box_mask(size, [x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    elif len(values) < 6:
        raise DataError(f"expected a class and at least three points in 0..1, got {' '.join(row[:8])}")
    else:
        mask = filled_mask(size, sides.reshape(-1).tolist())
    return Region(names[index], mask, score)


class Yolo(Writer):
    """One row per object, ``class x1 y1 …`` in 0..1; parts are joined to one ring, as Ultralytics does.

    The ring runs through the centres of the outermost pixels, because Ultralytics fills with OpenCV, which
    fills the pixels under the ring too.
    """

    name = "yolo"

    def write(self, record: Record) -> None:
        rows = [
            f"{self.index[one.label]} {' '.join(f'{x:.6g} {y:.6g}' for x, y in ring(one.mask))}\n"
            for one in self.regions(record)
        ]
        self.save(f"labels/{_place(record.stem)}.txt", rows)
        self.link(record, f"images/{_place(image_name(record))}")

    def finish(self, records: Records) -> None:
        names = "".join(
            f"  {k}: {json.dumps(name, ensure_ascii=False)}\n" for k, name in enumerate(self.index)
        )
        # Without a "path", the folders are looked for beside this file.
        self.save("data.yaml", [f"train: images\nval: images\nnames:\n{names}"])


def _place(name: str) -> str:
    """A name without folders called images or labels: Ultralytics finds a label by the last of them.

    >>> _place("images/images.jpg")
    'images_/images.jpg'
    """
    *folders, file = PurePosixPath(name).parts
    return "/".join([*(f"{one}_" if one in ("images", "labels") else one for one in folders), file])


def ring(mask: Mask) -> list[Point]:
    """One ring through all parts of a mask, (x, y) in 0..1 of the image; at least three points."""
    parts = [np.array(part, np.int32) for part in centre_polygons(mask.array())]
    joined = join_rings(parts)
    height, width = mask.size
    points = [((x + 0.5) / width, (y + 0.5) / height) for x, y in joined.tolist()]
    while len(points) < 3:  # fewer are refused, or read as a box
        points.append(points[-1])
    return points
