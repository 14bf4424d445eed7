"""Ultralytics' segmentation data set: labels/NAME.txt, images/ as links, data.yaml."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import numpy as np

from ovseg.annotation.formats.base import Records, Writer, link_image, write_text
from ovseg.annotation.outlines import Point, centre_polygons, join_rings
from ovseg.annotation.records import Mask, Record


class Yolo(Writer):
    """A row an object, ``class x1 y1 …`` in 0..1; several parts are joined to one ring, as Ultralytics does.

    The ring runs through the centres of the outermost pixels, because Ultralytics fills with OpenCV, which
    fills the pixels under the ring too.
    """

    name = "yolo"

    def write(self, record: Record) -> None:
        rows = [
            f"{self.index[one.label]} {' '.join(f'{x:.6g} {y:.6g}' for x, y in ring(one.mask))}\n"
            for one in self.regions(record)
        ]
        write_text(self.path("labels", f"{record.stem}.txt"), "".join(rows))
        link_image(record, self.folder / "images" / f"{record.stem}{PurePosixPath(record.name).suffix}")

    def finish(self, records: Records) -> None:
        names = "".join(
            f"  {k}: {json.dumps(name, ensure_ascii=False)}\n" for k, name in enumerate(self.index)
        )
        # Without a "path", the folders are looked for beside this file.
        write_text(self.path("data.yaml"), f"train: images\nval: images\nnames:\n{names}")


def ring(mask: Mask) -> list[Point]:
    """One ring through all parts of a mask, (x, y) in 0..1 of the image; at least three points."""
    parts = [np.array(part, np.int32) for part in centre_polygons(mask.array())]
    joined = join_rings(parts)
    height, width = mask.size
    points = [((x + 0.5) / width, (y + 0.5) / height) for x, y in joined.tolist()]
    while len(points) < 3:  # fewer are refused, or read as a box
        points.append(points[-1])
    return points
