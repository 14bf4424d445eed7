"""COCO: ``instances.json`` with run lengths or polygons; one file of SA-1B is read too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ovseg.annotation.formats.base import Records, Writer, as_json, json_list, write_parts
from ovseg.annotation.formats.shapes import box_mask
from ovseg.annotation.formats.source import (
    Annotations,
    Source,
    as_score,
    reading,
    records_of,
)
from ovseg.annotation.outlines import edge_polygons
from ovseg.annotation.records import Record, Region, check_size
from ovseg.files.paths import shown
from ovseg.results.coco import Mask, coco_annotation

WHAT = "COCO's annotations"


def read_coco(source: Source) -> Annotations:
    """Instances as polygons, run lengths or boxes. Crowds become void. Raises DataError."""
    path, content = source.json("instances.json", WHAT)
    with reading(path, WHAT):
        if "image" in content:
            content = _of_one_image(content)
        names = category_names(content)
        images = sorted(content["images"], key=lambda one: str(one["file_name"]))
        found = defaultdict(list)
        for one in content["annotations"]:
            found[one["image_id"]].append(one)

    def record(image: Any) -> Record:
        name = str(image["file_name"])
        size = check_size((image["height"], image["width"]), name)
        objects = source.objects(f"{shown(path)}, {name}")
        for place, one in enumerate(found[image["id"]], 1):
            mask = _mask(one, size)
            if mask is None:
                objects.skip(place, "annotations without segmentation and bbox")
            elif one.get("iscrowd"):
                objects.hide(mask)
            else:
                objects.add(place, region_of(names[one["category_id"]], mask, one))
        return objects.record(name, size, source.image(name))

    records = records_of(images, record, WHAT, path)
    return Annotations(tuple(dict.fromkeys(names.values())), records)


def category_names(content: Any) -> dict[object, str]:
    """The name of each class by its id."""
    return {one["id"]: str(one["name"]) for one in content["categories"]}


def region_of(label: str, mask: Mask, one: Any) -> Region:
    """A region with the score, prompt and method that an annotation or its ``attributes`` have."""
    extra = one.get("attributes")
    known = extra if isinstance(extra, dict) else {}
    prompt, method = (known.get(key) for key in ("prompt", "method"))
    return Region(
        label,
        mask,
        as_score(one.get("score", known.get("score"))),
        prompt if isinstance(prompt, str) else None,
        method if isinstance(method, str) else None,
    )


def _of_one_image(content: Any) -> Any:
    """A file of SA-1B, which holds one image and objects without a class, as COCO's."""
    image = content["image"]
    key = image["image_id"]
    return {
        "images": [{**image, "id": key}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [{**one, "image_id": key, "category_id": 1} for one in content["annotations"]],
    }


def _mask(one: Any, size: tuple[int, int]) -> Mask | None:
    """The segmentation, else the bbox; None where an annotation has neither."""
    segmentation = one.get("segmentation")
    if segmentation:
        return Mask.of_coco(segmentation, size)
    if not one.get("bbox"):
        return None
    x, y, width, height = one["bbox"]
    return box_mask(size, [x, y, x + width, y + height])


class Coco(Writer):
    """``instances.json``; ids start at 1, holes and parts are kept, ``iscrowd`` is 0."""

    name = "coco"

    def finish(self, records: Records) -> None:
        write_parts(self.path("instances.json"), self._parts(records))

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
    """What else is known of a region; tools that read COCO keep ``attributes`` or pass over them."""
    score = {} if one.score is None else {"score": one.score}
    known = one.known()
    return {**score, **({"attributes": known} if known else {})}
