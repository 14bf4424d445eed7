"""PASCAL VOC: SegmentationClass, SegmentationObject, Annotations, ImageSets and labelmap.txt."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from ovseg.annotation.formats.base import (
    Records,
    Writer,
    check_count,
    link_image,
    paint,
    voc_colours,
    write_parts,
    write_text,
    xml_text,
)
from ovseg.annotation.records import Record
from ovseg.errors import UsageError
from ovseg.files.write import write_labels

VOID = 255


class Voc(Writer):
    """Index PNG files with VOC's palette: 0 is the background, class k of the list is k + 1, 255 is void."""

    name = "voc"

    def check(self) -> None:
        check_count(self, VOID - 1)
        for name in self.target.objects:
            if ":" in name or name.startswith("#") or len(name.splitlines()) > 1:
                raise UsageError(
                    f"expected names without ':' and without '#' in front for labelmap.txt of voc, got {name!r}"
                )

    def write(self, record: Record) -> None:
        colours = voc_colours()
        values = {name: number + 1 for name, number in self.index.items()}
        classes = paint(record, values, 0, VOID, np.uint8).astype(np.uint8)
        regions = self.regions(record)
        objects = np.where(classes == VOID, VOID, 0).astype(np.uint8)
        for number in range(len(regions), 0, -1):  # beyond 254 objects of one image, several share 254
            objects[regions[number - 1].mask.array()] = min(number, VOID - 1)
        write_labels(self.path("SegmentationClass", f"{record.stem}.png"), classes, colours)
        write_labels(self.path("SegmentationObject", f"{record.stem}.png"), objects, colours)
        write_text(self.path("Annotations", f"{record.stem}.xml"), self._xml(record))
        link_image(record, self.folder / "JPEGImages" / f"{record.stem}{PurePosixPath(record.name).suffix}")

    def finish(self, records: Records) -> None:
        colours = voc_colours()
        listed = {"background": 0, **{name: k + 1 for name, k in self.index.items()}}
        lines = (f"{name}:{','.join(map(str, colours[k].tolist()))}::\n" for name, k in listed.items())
        write_text(self.path("labelmap.txt"), "# label:color_rgb:parts:actions\n" + "".join(lines))
        write_parts(
            self.path("ImageSets", "Segmentation", "default.txt"), (f"{one.stem}\n" for one in records())
        )

    def _xml(self, record: Record) -> str:
        height, width = record.size
        folder, _, file = f"{record.stem}{PurePosixPath(record.name).suffix}".rpartition("/")
        objects = ""
        for one in self.regions(record):
            x0, y0, x1, y1 = one.mask.box  # VOC counts from 1, and both corners are inside
            objects += (
                f"<object><name>{xml_text(one.label)}</name><pose>Unspecified</pose><truncated>0</truncated>"
                f"<difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
                f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>\n"
            )
        return (
            f"<annotation><folder>{xml_text(folder)}</folder><filename>{xml_text(file)}</filename>"
            f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
            f"<segmented>{int(bool(objects))}</segmented>\n{objects}</annotation>\n"
        )
