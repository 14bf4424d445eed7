"""COCO: instances.json with run lengths (or polygons), and panoptic.json with its PNG files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ovseg.annotation.formats.base import Records, Writer, as_json, json_list, write_parts
from ovseg.annotation.outlines import edge_polygons
from ovseg.annotation.records import Mask, Record, Region
from ovseg.files.write import write_file
from ovseg.results.figures import palette


class Coco(Writer):
    """``instances.json``; ids start at 1, holes and parts are kept, ``iscrowd`` is 0."""

    name = "coco"

    def finish(self, records: Records) -> None:
        write_parts(self.path("instances.json"), self._parts(records))

    def _parts(self, records: Records) -> Iterator[str]:
        yield '{"info":' + as_json({"description": self.target.source}) + ',\n"licenses":[],\n"categories":'
        yield from json_list(categories(self))
        yield ',\n"images":'
        yield from json_list(_image(number, one) for number, one in enumerate(records(), 1))
        yield ',\n"annotations":'
        yield from json_list(self._annotations(records))
        yield "}\n"

    def _annotations(self, records: Records) -> Iterator[dict[str, object]]:
        number = 0
        for image, record in enumerate(records(), 1):
            for one in self.regions(record):
                number += 1
                yield {
                    "id": number,
                    "image_id": image,
                    "category_id": self.index[one.label] + 1,
                    "segmentation": self._segmentation(one.mask),
                    **measures(one.mask),
                    "iscrowd": 0,
                    **details(one),
                }

    def _segmentation(self, mask: Mask) -> object:
        if self.target.options.shape == "polygon":
            return [[side for point in part for side in point] for part in edge_polygons(mask.array())]
        return {"size": list(mask.size), "counts": mask.counts}


class CocoPanoptic(Writer):
    """``panoptic.json`` and ``panoptic/NAME.png``: id = R + 256 G + 65536 B, 0 for no segment."""

    name = "coco-panoptic"

    def write(self, record: Record) -> None:
        ids = self._ids(record)
        rgb = np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], axis=-1).astype(np.uint8)
        image = Image.fromarray(rgb)
        write_file(self.path("panoptic", f"{record.stem}.png"), lambda file: image.save(file, "PNG"))

    def finish(self, records: Records) -> None:
        write_parts(self.path("panoptic.json"), self._parts(records))

    def _ids(self, record: Record) -> np.ndarray:
        ids = np.zeros(record.size, np.uint32)
        regions = self.regions(record)
        for number in range(len(regions), 0, -1):
            ids[regions[number - 1].mask.array()] = number
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
        yield from json_list(_image(number, one) for number, one in enumerate(records(), 1))
        yield ',\n"annotations":'
        yield from json_list(
            {
                "image_id": number,
                "file_name": f"{record.stem}.png",
                "segments_info": self._segments(record),
            }
            for number, record in enumerate(records(), 1)
        )
        yield "}\n"

    def _segments(self, record: Record) -> list[dict[str, object]]:
        regions = self.regions(record)
        out = []
        taken: np.ndarray | None = None
        for number, one in enumerate(regions, 1):
            mask = one.mask
            if self.target.options.overlaps:  # in the PNG, each pixel is of the uppermost region
                pixels = mask.array()
                mask = Mask.of(pixels if taken is None else pixels & ~taken)
                taken = pixels if taken is None else taken | pixels
            if mask.area:
                out.append(
                    {
                        "id": number,
                        "category_id": self.index[one.label] + 1,
                        **measures(mask),
                        "iscrowd": 0,
                        **details(one),
                    }
                )
        return out


def categories(writer: Writer) -> list[dict[str, object]]:
    """COCO's list of classes, ids from 1."""
    return [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(writer.target.objects, 1)
    ]


def measures(mask: Mask) -> dict[str, object]:
    """The area in pixels and the bbox (x, y, width, height) of a mask."""
    x0, y0, x1, y1 = mask.box
    return {"area": mask.area, "bbox": [x0, y0, x1 - x0, y1 - y0]}


def details(one: Region) -> dict[str, object]:
    """What else is known of a region; tools that read COCO keep ``attributes`` or pass over them."""
    found = {"prompt": one.prompt, "method": one.method}
    known = {key: value for key, value in found.items() if value is not None}
    score = {} if one.score is None else {"score": one.score}
    return {**score, **({"attributes": {**score, **known}} if known or score else {})}


def _image(number: int, record: Record) -> dict[str, object]:
    return {"id": number, "file_name": record.name, "height": record.size[0], "width": record.size[1]}
