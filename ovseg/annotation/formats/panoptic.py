"""COCO panoptic: ``panoptic.json`` and PNG files whose id is R + 256 G + 65536 B, 0 for no segment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.annotation.formats.base import Records, Writer, as_json, json_list, write_parts
from ovseg.annotation.formats.coco import categories, category_names, details, images, region_of
from ovseg.annotation.formats.source import Annotations, Source, reading, records_of
from ovseg.annotation.records import Record, check_size
from ovseg.errors import DataError
from ovseg.files.paths import shown
from ovseg.files.write import write_file
from ovseg.results.coco import Mask, coco_annotation
from ovseg.results.figures import palette

WHAT = "COCO's panoptic annotations"


def read_panoptic(source: Source) -> Annotations:
    """Panoptic segments; the PNG files lie in a folder of the JSON's name beside it. Raises DataError."""
    path, content = source.json("panoptic.json", WHAT)
    with reading(path, WHAT):
        names = category_names(content)
        stuff = not any(one.get("isthing", 1) for one in content["categories"])
        by_id = {one["id"]: one for one in content["images"]}
        found = sorted(content["annotations"], key=lambda one: str(by_id[one["image_id"]]["file_name"]))

    def record(one: Any) -> Record:
        image = by_id[one["image_id"]]
        name = str(image["file_name"])
        size = check_size((image["height"], image["width"]), name)
        ids = _ids(path, str(one["file_name"]), size)
        objects = source.objects(name)
        for segment in one["segments_info"]:
            mask = Mask.of(ids == int(segment["id"]))
            if segment.get("iscrowd"):
                objects.hide(mask)
            else:
                objects.add(segment["id"], region_of(names[segment["category_id"]], mask, segment))
        return objects.record(name, size, source.image(name))

    records = records_of(found, record, WHAT, path)
    return Annotations(tuple(dict.fromkeys(names.values())), records, stuff)


def _ids(path: Path, name: str, size: tuple[int, int]) -> NDArray[np.uint32]:
    """The ids (H, W) of a PNG beside the JSON file."""
    folders = [path.with_suffix(""), path.parent]
    file = next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
    with Image.open(file) as image:
        if image.size != size[::-1]:
            raise DataError(
                f"expected {shown(file)} of {size[1]} x {size[0]}, got {image.width} x {image.height}"
            )
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


class CocoPanoptic(Writer):
    """``panoptic.json`` and ``panoptic/NAME.png``; a pixel belongs to the uppermost region."""

    name = "coco-panoptic"

    def write(self, record: Record) -> None:
        ids = self._ids(record)
        rgb = np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], axis=-1).astype(np.uint8)
        image = Image.fromarray(rgb)
        write_file(self.path("panoptic", f"{record.stem}.png"), lambda file: image.save(file, "PNG"))

    def finish(self, records: Records) -> None:
        write_parts(self.path("panoptic.json"), self._parts(records))

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
