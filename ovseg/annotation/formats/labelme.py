"""LabelMe: a JSON an image, with mask or polygon shapes."""

from __future__ import annotations

import base64
import io
import os

import numpy as np
from PIL import Image

from ovseg.annotation.formats.base import Records, Writer, as_json, write_text
from ovseg.annotation.formats.coco import details
from ovseg.annotation.outlines import centre_polygons
from ovseg.annotation.records import Record, Region

VERSION = "5.5.0"
"""The version of LabelMe's files in which mask shapes are described; later ones read it."""


class LabelMe(Writer):
    """``NAME.json``; shapes are masks, or polygons for X-AnyLabeling, which reads no masks."""

    name = "labelme"

    @property
    def key(self) -> str:
        return f"{self.name} {self.target.options.shape}"

    def write(self, record: Record) -> None:
        path = self.path(f"{record.stem}.json")
        image = record.name if record.image is None else os.path.relpath(record.image, path.parent)
        shapes = [
            shape
            for number, one in enumerate(self.regions(record), 1)
            for shape in (
                _polygons(one, number) if self.target.options.shape == "polygon" else [_mask(one, number)]
            )
        ]
        content: dict[str, object] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": image.replace(os.sep, "/"),
            "imageData": None,
            "imageHeight": record.size[0],
            "imageWidth": record.size[1],
        }
        write_text(path, as_json(content) + "\n")

    def finish(self, records: Records) -> None:
        names = [line for name in self.target.objects for line in (" ".join(name.split()),)]
        write_text(self.path("labels.txt"), "".join(f"{name}\n" for name in names))


def _shape(
    one: Region, number: int, kind: str, points: list[list[float]], mask: str | None
) -> dict[str, object]:
    known = details(one)
    said = "; ".join(f"{key} {value}" for key, value in known.get("attributes", {}).items())  # type: ignore[attr-defined]
    return {
        "label": one.label,
        "points": points,
        "group_id": number,
        "description": said,
        "shape_type": kind,
        "flags": {},
        "mask": mask,
        **({} if one.score is None else {"score": one.score}),
    }


def _mask(one: Region, number: int) -> dict[str, object]:
    x0, y0, x1, y1 = one.mask.box
    file = io.BytesIO()
    Image.fromarray(one.mask.array()[y0:y1, x0:x1].astype(np.uint8) * 255).convert("1").save(file, "PNG")
    corners: list[list[float]] = [[x0, y0], [x1 - 1, y1 - 1]]  # both inside
    return _shape(one, number, "mask", corners, base64.b64encode(file.getvalue()).decode())


def _polygons(one: Region, number: int) -> list[dict[str, object]]:
    """A polygon for each part, with one group; of less than three points the last is repeated."""
    parts = [[list(point) for point in part] for part in centre_polygons(one.mask.array())]
    return [_shape(one, number, "polygon", part + [part[-1]] * (3 - len(part)), None) for part in parts]
