"""COCO: ``instances.json`` with run lengths or polygons, and ``panoptic.json`` with PNG files of ids.

The id of a pixel is R + 256 G + 65536 B, 0 where there is no segment. A file of SA-1B is read as instances.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.annotation.formats.base import Records, Writer, as_json, json_list
from ovseg.annotation.formats.objects import Skipped, as_score, is_set
from ovseg.annotation.formats.shapes import box_mask, edge_polygons
from ovseg.annotation.formats.source import Annotations, Source, reading, records_of
from ovseg.annotation.records import Record, Region, check_size
from ovseg.errors import DataError
from ovseg.files.paths import shown
from ovseg.files.pictures import load_image
from ovseg.files.write import write_file
from ovseg.results.coco import Mask, coco_annotation
from ovseg.results.figures import palette

WHAT = "COCO's annotations"


def read_coco(source: Source) -> Annotations:
    """Instances as polygons, run lengths or boxes. Crowds and ignored objects become void. Raises DataError."""
    path, content = source.json("instances.json", WHAT)
    with reading(path, WHAT):
        if isinstance(content, list):
            raise DataError("expected images, categories and annotations, got a list, as COCO's results are")
        if "image" in content:
            content = _of_one_image(content)
        names = category_names(content)
        images = sorted(content["images"], key=_file_name)
        found = _by_image(content, shown(path), source.skipped)

    def record(image: Any) -> Record:
        name = source.name(_file_name(image))
        size = check_size((image["height"], image["width"]), name)
        objects = source.objects(f"{shown(path)}, {name}")
        for place, one in enumerate(found[image["id"]], 1):
            mask = _mask(one, size)
            if mask is None:
                objects.skip(place, "annotations without segmentation and bbox")
            elif is_set(one.get("iscrowd")) or is_set(one.get("ignore")):
                objects.hide(mask)
            else:
                objects.add(place, region_of(class_of(names, one), mask, one))
            objects.skip_extras(place, _attributes(one), ("rotation", "track_id", "keyframe"))
            if any(one.get("keypoints") or ()):
                objects.skip(place, "key points of objects")
        return objects.record(name, size, source.image(name))

    records = records_of(images, record, WHAT, path)
    return Annotations(tuple(dict.fromkeys(names.values())), records)


def _file_name(image: Any) -> str:
    """The name of an image; LVIS has an address instead, whose last folder is the part of the data set."""
    if "file_name" in image:
        return str(image["file_name"])
    return "/".join(urlsplit(str(image["coco_url"])).path.split("/")[-2:])


def _by_image(content: Any, where: str, skipped: Skipped) -> dict[object, list[Any]]:
    """The annotations of each image by its id; those of an image that the file does not list are counted."""
    ids = [one["id"] for one in content["images"]]
    found: dict[object, list[Any]] = {key: [] for key in ids}
    if len(found) < len(ids):
        raise DataError(f"expected images with ids of their own, {len(ids)} have {len(found)}")
    texts = {str(key): key for key in ids}  # some tools write 7 here and "7" there
    for place, one in enumerate(content["annotations"], 1):
        key = one["image_id"] if one["image_id"] in found else texts.get(str(one["image_id"]))
        if key in found:
            found[key].append(one)
        else:
            skipped.add("annotations of an image that is not listed", f"{where}, number {place}")
    return found


def category_names(content: Any) -> dict[object, str]:
    """The name of each class by its id, and by the id's text; see ``class_of``."""
    names = {one["id"]: str(one["name"]) for one in content["categories"]}
    return {**{str(key): name for key, name in names.items()}, **names}


def class_of(names: Mapping[object, str], one: Any) -> str:
    """The class of an annotation or segment, also where its id is 7 in one place and "7" in the other."""
    key = one["category_id"]
    return names[key] if key in names else names[str(key)]


def region_of(label: str, mask: Mask, one: Any) -> Region:
    """A region with the score, prompt and method of an annotation or its ``attributes``."""
    known = _attributes(one)
    prompt, method = (known.get(key) for key in ("prompt", "method"))
    return Region(
        label,
        mask,
        as_score(one.get("score", known.get("score"))),
        prompt if isinstance(prompt, str) else None,
        method if isinstance(method, str) else None,
    )


def _attributes(one: Any) -> dict[str, Any]:
    found = one.get("attributes")
    return found if isinstance(found, dict) else {}


def _of_one_image(content: Any) -> Any:
    """Convert a file of SA-1B (one image, objects without classes) to COCO's structure."""
    image = content["image"]
    key = image["image_id"]
    return {
        "images": [{**image, "id": key}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {**one, "image_id": key, "category_id": 1, "score": one.get("predicted_iou")}
            for one in content["annotations"]
        ],
    }


def _mask(one: Any, size: tuple[int, int]) -> Mask | None:
    """The mask of the segmentation, else of the bbox, which CVAT turns by an attribute; None without either."""
    segmentation = one.get("segmentation")
    if segmentation:
        return Mask.of_coco(segmentation, size)
    if not one.get("bbox"):
        return None
    x, y, width, height = one["bbox"]
    degrees = as_score(_attributes(one).get("rotation")) or 0
    return box_mask(size, [x, y, x + width, y + height], degrees, (x + width / 2, y + height / 2))


def read_panoptic(source: Source) -> Annotations:
    """Panoptic segments; the PNG files lie in a folder of the JSON's name beside it. Raises DataError."""
    path, content = source.json("panoptic.json", WHAT)
    with reading(path, WHAT):
        names = category_names(content)
        stuff = not any(one.get("isthing", 1) for one in content["categories"])
        by_id = {one["id"]: one for one in content["images"]}
        found = sorted(content["annotations"], key=lambda one: _file_name(by_id[one["image_id"]]))
    for key in by_id.keys() - {one["image_id"] for one in found}:
        source.skipped.add("images without segments", f"{shown(path)}, image {key}")

    def record(one: Any) -> Record:
        image = by_id[one["image_id"]]
        name = source.name(_file_name(image))
        size = check_size((image["height"], image["width"]), name)
        ids = _ids(path, str(one["file_name"]), size)
        objects = source.objects(f"{shown(path)}, {name}")
        masks = dict(Mask.of_values(ids))
        nothing = Mask.of_runs(size, [size[0] * size[1]])
        masks.pop(0, None)
        for segment in one["segments_info"]:
            mask = masks.pop(int(segment["id"]), nothing)
            if is_set(segment.get("iscrowd")):
                objects.hide(mask)
            else:
                objects.add(segment["id"], region_of(class_of(names, segment), mask, segment))
        for number in masks:
            objects.skip(number, "segments of a PNG that the JSON does not list")
        return objects.record(name, size, source.image(name))

    records = records_of(found, record, WHAT, path)
    return Annotations(tuple(dict.fromkeys(names.values())), records, stuff)


def _ids(path: Path, name: str, size: tuple[int, int]) -> NDArray[np.uint32]:
    """The ids (H, W) of a PNG beside the JSON file."""
    folders = [path.with_suffix(""), path.parent]
    file = next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
    rgb = load_image(file).astype(np.uint32)
    if rgb.shape[:2] != size:
        raise DataError(
            f"expected {shown(file)} of {size[1]} x {size[0]}, got {rgb.shape[1]} x {rgb.shape[0]}"
        )
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


class Coco(Writer):
    """``instances.json``; ids start at 1, holes and parts are kept, ``iscrowd`` is 0."""

    name = "coco"

    def finish(self, records: Records) -> None:
        self.save("instances.json", self._parts(records))

    def _parts(self, records: Records) -> Iterator[str]:
        yield '{"info":' + as_json({"description": self.target.source}) + ',\n"licenses":[],\n"categories":'
        yield from json_list(categories(self))
        yield ',\n"images":'
        yield from json_list(images(records))
        yield ',\n"annotations":'
        yield from json_list(self._annotations(records))
        yield "}\n"

    def _annotations(self, records: Records) -> Iterator[dict[str, object]]:
        number = 0
        for image, record in enumerate(records(), 1):
            for one in self.regions(record):
                number += 1
                found = coco_annotation(one.mask, number, image, self.index[one.label] + 1)
                if self.target.options.shape == "polygon":
                    parts = edge_polygons(one.mask.array())
                    found["segmentation"] = [[side for point in part for side in point] for part in parts]
                yield {**found, **details(one)}


def categories(writer: Writer) -> list[dict[str, object]]:
    """COCO's list of classes, ids from 1."""
    return [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(writer.target.objects, 1)
    ]


def images(records: Records) -> Iterator[dict[str, object]]:
    """COCO's list of images, ids from 1."""
    for number, one in enumerate(records(), 1):
        yield {"id": number, "file_name": one.name, "height": one.size[0], "width": one.size[1]}


def details(one: Region) -> dict[str, object]:
    """Score, prompt and method of a region; tools that read COCO keep or ignore ``attributes``."""
    score = {} if one.score is None else {"score": one.score}
    known = one.known()
    return {**score, **({"attributes": known} if known else {})}


class CocoPanoptic(Writer):
    """``panoptic.json`` and ``panoptic/NAME.png``; a pixel belongs to the uppermost region."""

    name = "coco-panoptic"
    holds_void = True

    def write(self, record: Record) -> None:
        ids = self._ids(record)
        rgb = np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], axis=-1).astype(np.uint8)
        image = Image.fromarray(rgb)
        write_file(self.path("panoptic", f"{record.stem}.png"), lambda file: image.save(file, "PNG"))

    def finish(self, records: Records) -> None:
        self.save("panoptic.json", self._parts(records))

    def _ids(self, record: Record) -> NDArray[np.uint32]:
        ids = np.zeros(record.size, np.uint32)
        for number, one in enumerate(self.regions(record), 1):
            ids[one.mask.array()] = number
        return ids

    def _parts(self, records: Records) -> Iterator[str]:
        colours = palette(len(self.index)).tolist()
        listed = [
            {**one, "isthing": int(not self.target.stuff), "color": colour}
            for one, colour in zip(categories(self), colours, strict=True)
        ]
        yield '{"info":' + as_json({"description": self.target.source}) + ',\n"categories":'
        yield from json_list(listed)
        yield ',\n"images":'
        yield from json_list(images(records))
        yield ',\n"annotations":'
        yield from json_list(
            {"image_id": number, "file_name": f"{record.stem}.png", "segments_info": self._segments(record)}
            for number, record in enumerate(records(), 1)
        )
        yield "}\n"

    def _segments(self, record: Record) -> list[dict[str, object]]:
        ids = self._ids(record) if self.target.options.overlaps else None
        out = []
        for number, one in enumerate(self.regions(record), 1):
            mask = one.mask if ids is None else Mask.of(ids == number)  # what is seen of it in the PNG
            if mask.area:
                found = coco_annotation(mask, number, 0, self.index[one.label] + 1)
                del found["image_id"], found["segmentation"]
                out.append({**found, **details(one)})
        return out
