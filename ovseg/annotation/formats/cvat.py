"""CVAT: "CVAT for images 1.1", an XML with masks as run lengths of their boxes; tracks of videos are read too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats.base import Records, Writer, hex_colours, xml_text
from ovseg.annotation.formats.objects import as_score
from ovseg.annotation.formats.shapes import box_mask, ellipse_mask
from ovseg.annotation.formats.source import Annotations, Source, reading, records_of, with_others
from ovseg.annotation.records import Record, Region, check_size
from ovseg.errors import DataError
from ovseg.files.formats import upright_size
from ovseg.files.paths import shown
from ovseg.results.coco import Mask, check_runs

WHAT = "annotations of CVAT for images"
Shape = tuple[str, str, ElementTree.Element]
"""The label of a shape, its group ("0": none), and its element."""
Sides = tuple[object, object]
"""Height and width as texts; None where the file does not state them."""


def read_cvat(source: Source) -> Annotations:
    """Masks, polygons, boxes and ellipses of images, or of the frames of tracks. Raises DataError.

    A shape with a higher ``z_order`` is on top, among equals the later one.
    """
    path = source.file("annotations.xml")
    with reading(path, WHAT):
        root = _parsed(path)
        parts = [
            one for one in root.findall("meta//label") if one.find("parent") is None
        ]  # no skeletons' points
        found = sorted([*_images(root), *_frames(root, path)], key=lambda one: one[0])
        used = {label for _, _, shapes in found for label, _, _ in shapes if label}

    def record(image: tuple[str, Sides, list[Shape]]) -> Record:
        name, sides, shapes = image
        name = source.name(name)
        file = source.image(name)
        where = f"{shown(path)}, {name}"
        size = upright_size(Path(file)) if file and None in sides else check_size(sides, where)
        objects = source.objects(where)
        places = sorted(range(len(shapes)), key=lambda k: int(shapes[k][2].get("z_order", "0")))
        for place in places:
            label, group, one = shapes[place]
            if one.tag not in MASKS or not label:
                objects.skip(place + 1, f"shapes <{one.tag}>" if label else "shapes without a label")
                continue
            details = {child.attrib["name"]: child.text or "" for child in one.findall("attribute")}
            objects.add(place + 1, _region(label, one, details, size), None if group == "0" else group)
            objects.skip_extras(place + 1, {"occluded": one.get("occluded"), **details})
        return objects.record(name, size, file)

    names = [one.findtext("name") or "" for one in parts]
    return Annotations(with_others(names, used), records_of(found, record, WHAT, path))


def _parsed(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"expected {WHAT} as XML, {shown(path)} is damaged: {error}") from None


def _images(root: ElementTree.Element) -> Iterator[tuple[str, Sides, list[Shape]]]:
    for one in root.findall("image"):
        shapes = [(child.get("label", ""), child.get("group_id", "0"), child) for child in one]
        yield one.attrib["name"], (one.get("height"), one.get("width")), shapes


def _frames(root: ElementTree.Element, path: Path) -> Iterator[tuple[str, Sides, list[Shape]]]:
    """The video frames with tracks, named as in CVAT's other formats; a project has a folder for each task."""
    frames: dict[tuple[str, int], list[Shape]] = defaultdict(list)
    for track in root.findall("track"):
        label, group = track.get("label", ""), track.get("group_id", "0")
        for one in track:
            shapes = frames[track.get("task_id", ""), int(one.attrib["frame"])]
            if one.get("outside", "0") == "0":
                shapes.append((label, one.get("group_id", group), one))
    any_size = root.find("meta//original_size")
    sizes = {one.findtext("id"): one.find(".//original_size") for one in root.findall("meta//task")}
    for (task, frame), shapes in frames.items():
        size = sizes.get(task, any_size)
        if size is None:
            raise DataError(f"tracks need the original_size of the video, {shown(path)} has none")
        folder = f"{task}/" if task else ""
        yield f"{folder}frame_{frame:06d}.png", (size.findtext("height"), size.findtext("width")), shapes


def _region(label: str, one: ElementTree.Element, details: dict[str, str], size: tuple[int, int]) -> Region:
    try:
        score = as_score(float(details["score"])) if details.get("score") else None
    except ValueError:
        score = None
    mask = MASKS[one.tag](one.attrib, size)
    return Region(label, mask, score, details.get("prompt"), details.get("method"))


def _mask(found: dict[str, str], size: tuple[int, int]) -> Mask:
    left, top, width, height = (int(float(found[key])) for key in ("left", "top", "width", "height"))
    if not (0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]):
        raise DataError(f"expected a mask inside the image, got {width} x {height} at {left}, {top}")
    runs = [int(run) for run in found["rle"].split(",")]
    check_runs(runs, (height, width))
    crop = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return Mask.of_crop(crop, (left, top), size)


def _polygon(found: dict[str, str], size: tuple[int, int]) -> Mask:
    sides = [float(side) for point in found["points"].split(";") for side in point.split(",")]
    return Mask.of_polygons(size, [sides])


def _box(found: dict[str, str], size: tuple[int, int]) -> Mask:
    x0, y0, x1, y1 = (float(found[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    return box_mask(size, (x0, y0, x1, y1), float(found.get("rotation", 0)), ((x0 + x1) / 2, (y0 + y1) / 2))


def _ellipse(found: dict[str, str], size: tuple[int, int]) -> Mask:
    x, y, across, down = (float(found[key]) for key in ("cx", "cy", "rx", "ry"))
    return ellipse_mask(size, (x, y), (across, down), float(found.get("rotation", 0)))


MASKS: dict[str, Callable[[dict[str, str], tuple[int, int]], Mask]] = {
    "mask": _mask,
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
}
"""The function that turns each element into a mask."""


class Cvat(Writer):
    """``annotations.xml``; score, prompt and method are attributes of each label."""

    name = "cvat"

    def finish(self, records: Records) -> None:
        self.save("annotations.xml", self._parts(records))

    def _parts(self, records: Records) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        yield "<meta><task><labels>\n"
        attributes = "".join(
            f"<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
            for name in ("score", "prompt", "method")
        )
        for name, colour in hex_colours(self.target.objects):
            yield (
                f"<label><name>{name}</name><color>{colour}</color>"
                f"<type>mask</type><attributes>{attributes}</attributes></label>\n"
            )
        yield "</labels></task></meta>\n"
        for number, record in enumerate(records()):
            yield from self._image(number, record)
        yield "</annotations>\n"

    def _image(self, number: int, record: Record) -> Iterator[str]:
        height, width = record.size
        yield f'<image id="{number}" name="{xml_text(record.name)}" width="{width}" height="{height}">\n'
        for one in self.regions(record):
            x0, y0, x1, y1 = one.mask.box
            runs = ", ".join(map(str, box_runs(one.mask.array()[y0:y1, x0:x1])))
            yield (
                f'<mask label="{xml_text(one.label)}" source="auto" occluded="0" rle="{runs}" left="{x0}" '
                f'top="{y0}" width="{x1 - x0}" height="{y1 - y0}" z_order="0">'
            )
            for key, value in one.known().items():
                yield f'<attribute name="{key}">{xml_text(str(value))}</attribute>'
            yield "</mask>\n"
        yield "</image>\n"


def box_runs(crop: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a mask (h, w) row by row, the first of them outside the object.

    >>> box_runs(np.array([[True, False], [True, True]]))
    [0, 1, 1, 2]
    """
    flat = crop.reshape(-1)
    edges = (np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist()
    places = [0, *([0] if flat[0] else []), *edges, flat.size]
    return np.diff(places).tolist()
