"""Ultralytics' segmentation data set: labels/NAME.txt, images/, data.yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import yaml

from ovseg.annotation.formats.base import Records, Writer, image_name
from ovseg.annotation.formats.shapes import Point, box_mask, centre_polygons, filled_mask, join_rings
from ovseg.annotation.formats.source import (
    Annotations,
    Source,
    listed,
    read_names,
    reading,
    records_of,
    stem_below,
)
from ovseg.annotation.records import Record, Region
from ovseg.errors import DataError, described, one_line
from ovseg.files.find import suffixes
from ovseg.files.formats import upright_size
from ovseg.files.paths import shown
from ovseg.results.coco import Mask

WHAT = "Ultralytics' labels"
SLACK = 0.01
"""How far Ultralytics lets an object's box reach outside its image, of the image's sides."""
LISTED = "classes.txt"
"""A class list that other tools save in the labels' folder."""
FACTS = ("data.yaml", "dataset.yaml", "data.yml", "obj.names")
"""Files with the names of the classes: Ultralytics' under several names, and Darknet's, as CVAT writes it."""


class Facts(NamedTuple):
    """The class of each number, and how many numbers of a row are key points."""

    names: Mapping[int, str]
    points: int = 0


class Pair(NamedTuple):
    """An image and its labels, of which one may be missing; ``part`` is a folder such as "train/", or empty."""

    stem: str
    image: Path | None
    label: Path | None
    part: str
    root: Path

    def __str__(self) -> str:
        return str(self.label or self.image)


def read_yolo(source: Source) -> Annotations:
    """Rows of polygons, filled as Ultralytics does, or of boxes; a number behind them is a confidence.

    Of two objects that share pixels, the smaller one is on top, as Ultralytics has it. Labels lie in a folder
    called ``labels``, or in several, as ``train/labels`` and ``valid/labels``; the images in ``images`` beside
    each. An image there without labels has no objects, as Ultralytics has it. Raises DataError.
    """
    path = next((one for one in map(source.file, FACTS) if one.is_file()), source.file(FACTS[0]))
    facts = Facts(dict(enumerate(source.names))) if source.names else _facts(path)
    pairs = _pairs(path.parent, source.images)
    if not pairs:
        raise DataError(f"expected labels/NAME.txt beside {shown(path)}, there is none")

    def record(pair: Pair) -> Record:
        if pair.image is None:
            raise DataError(f"expected the image of {pair.stem} in {shown(pair.root)}, it has none")
        size = upright_size(pair.image)
        objects = source.objects(shown(str(pair)))
        text = "" if pair.label is None else pair.label.read_text(encoding="utf-8-sig")
        for place, row in enumerate(text.splitlines(), 1):
            if row.strip():
                objects.add(place, _region(row.split(), facts, size))
                if facts.points:
                    objects.skip(place, "key points of objects")
        name = pair.image.relative_to(pair.root).as_posix()
        image = str(pair.image.absolute())
        found = objects.record(pair.part + name, size, image, pair.part + pair.stem)
        return replace(found, regions=tuple(sorted(found.regions, key=lambda one: -one.mask.area)))

    ordered = tuple(dict.fromkeys(facts.names[index] for index in sorted(facts.names)))
    return Annotations(ordered, records_of(pairs, record, WHAT))


def _pairs(root: Path, images: Path | None) -> list[Pair]:
    """Every file of labels with its image, and every image beside labels that has none, sorted."""
    found = [one for one in sorted(root.rglob("labels")) if one.is_dir()]
    folders = [one for one in found if "labels" not in one.relative_to(root).parts[:-1]]
    folders = folders or [one for one in sorted(root.glob("obj_*_data")) if one.is_dir()]
    out: list[Pair] = []
    for folder in folders:
        base = folder.parent if folder.name == "labels" else folder
        beside = images or (folder.parent / "images" if folder.name == "labels" else folder)
        part = "" if len(folders) == 1 or base == root else base.relative_to(root).as_posix() + "/"
        labels = {stem_below(file, folder): file for file in listed(folder, (".txt",)) if file.name != LISTED}
        taken: set[str] = set()
        for image in listed(beside, tuple(suffixes())):
            stem = stem_below(image, beside)
            if stem in labels or images is None:
                out.append(Pair(stem, image, labels.get(stem), part, beside))
                taken.add(stem)
        out += [Pair(stem, None, labels[stem], part, beside) for stem in labels.keys() - taken]
    return sorted(out, key=lambda pair: (pair.part, pair.stem, str(pair.image)))


class _Loader(yaml.SafeLoader):
    """Loads plain YAML; rejects aliases, which let a small file expand without limit."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) is not read here")
        return super().compose_node(parent, index)


def _facts(path: Path) -> Facts:
    """The names of data.yaml, or of a list of classes."""
    if not path.is_file() or path.suffix == ".names":
        listed = (
            read_names(path)
            or read_names(path.parent / "labels" / LISTED)
            or read_names(path.parent / LISTED)
        )
        if listed:
            return Facts(dict(enumerate(listed)))
    with reading(path, WHAT):
        try:
            content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
        except yaml.YAMLError as error:
            raise DataError(f"expected data.yaml as YAML: {one_line(error)}") from None
        found = content.get("names") if isinstance(content, dict) else None
        pairs = (
            enumerate(found) if isinstance(found, list) else found.items() if isinstance(found, dict) else ()
        )
        names = {int(key): name for key, name in pairs}  # numbers may stand in quotation marks
        if not names or not all(isinstance(name, (str, int, float)) for name in names.values()):
            raise DataError(f"expected names of classes in data.yaml, got {described(found)}")
        count, numbers = content.get("kpt_shape") or (0, 0)
        return Facts({key: str(name) for key, name in names.items()}, int(count) * int(numbers))


def _region(row: list[str], facts: Facts, size: tuple[int, int]) -> Region:
    index, values = float(row[0]), np.array(row[1:], np.float64)
    if index not in facts.names:
        raise DataError(f"expected a class that data.yaml names, got {row[0]}")
    score = float(values[-1]) if len(values) % 2 != facts.points % 2 else None
    values = values[:4] if facts.points else values[: len(values) // 2 * 2]
    points = values.reshape(-1, 2)
    if len(values) == 4:
        (x, y), (w, h) = points.tolist()
    elif len(values) < 6:
        raise DataError(f"expected a class and at least three points in 0..1, got {' '.join(row[:8])}")
    else:
        (x, y), (w, h) = ((points.max(axis=0) + points.min(axis=0)) / 2).tolist(), np.ptp(points, axis=0)
    if not all(-SLACK <= side <= 1 + SLACK for side in (x, y, w, h)):
        raise DataError(f"expected places in 0..1 of the image, got {' '.join(row[:8])}")
    height, width = size
    if len(values) == 4:  # a box: centre, width and height
        sides = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
        return Region(facts.names[int(index)], box_mask(size, sides), score)
    sides = (points * (width, height)).reshape(-1).tolist()
    return Region(facts.names[int(index)], filled_mask(size, sides), score)


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

    >>> _place("images/images.jpg"), _place("images_/images.jpg")
    ('images_/images.jpg', 'images__/images.jpg')
    """
    *folders, file = PurePosixPath(name).parts
    return "/".join(
        [*(f"{one}_" if one.rstrip("_") in ("images", "labels") else one for one in folders), file]
    )


def ring(mask: Mask) -> list[Point]:
    """One ring through all parts of a mask, (x, y) in 0..1 of the image; at least three points."""
    parts = [np.array(part, np.int32) for part in centre_polygons(mask.array())]
    joined = join_rings(parts)
    height, width = mask.size
    points = [((x + 0.5) / width, (y + 0.5) / height) for x, y in joined.tolist()]
    while len(points) < 3:  # fewer are refused, or read as a box
        points.append(points[-1])
    return points
