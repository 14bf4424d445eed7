"""Label maps: MMSegmentation's folders, and Cityscapes' labelIds."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from ovseg.annotation.formats.base import Records, Writer, link_image, paint, write_text
from ovseg.annotation.records import Record
from ovseg.errors import UsageError
from ovseg.files.write import write_labels, write_picture
from ovseg.results import void_value
from ovseg.results.figures import palette

CITYSCAPES = {
    name: number
    for number, name in enumerate(
        "unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk, "
        "parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, "
        "traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, caravan, "
        "trailer, train, motorcycle, bicycle".split(", ")
    )
}
"""The labelId of each of Cityscapes' classes."""
_IMAGE = "_leftImg8bit"


class Mmseg(Writer):
    """``labels/NAME.png`` with class indices and a palette, ``images/`` as links, and ``dataset.py``.

    A pixel without a region belongs to the class "background" where the list has one, and is void otherwise:
    255, and 65535 in 16-bit files of more than 255 classes, which MMSegmentation's own loader cannot read
    and ``ovseg.mmseg`` can.
    """

    name = "mmseg"

    def write(self, record: Record) -> None:
        names = self.target.names
        void = void_value(len(names))
        values = {name: number for number, name in enumerate(names)}
        rest = void if self.target.background is None else self.target.background
        labels = paint(record, values, rest, void, np.uint8 if void == 255 else np.uint16)
        write_labels(self.path("labels", f"{record.stem}.png"), labels, palette(min(len(names), 256)))
        link_image(record, self.folder / "images" / f"{record.stem}{PurePosixPath(record.name).suffix}")

    def finish(self, records: Records) -> None:
        names = self.target.names
        text = (
            "# A data set of MMSegmentation: metainfo, and the folders below data_root.\n"
            f"metainfo = {{'classes': {names!r}, 'palette': {palette(len(names)).tolist()}}}\n"
            "data_prefix = {'img_path': 'images', 'seg_map_path': 'labels'}\n"
            f"ignore_index = {void_value(len(names))}\n"
        )
        write_text(self.path("dataset.py"), text)


class Cityscapes(Writer):
    """``NAME.png`` with Cityscapes' labelIds in one folder; 0 where nothing is known."""

    name = "cityscapes"

    def check(self) -> None:
        wrong = [name for name in self.target.objects if name not in CITYSCAPES]
        if wrong:
            known = ", ".join(list(CITYSCAPES)[4:])
            raise UsageError(f"expected Cityscapes' classes for cityscapes ({known}), got {wrong[0]!r}")

    def write(self, record: Record) -> None:
        labels = paint(record, {name: CITYSCAPES[name] for name in self.index}, 0, None, np.uint8)
        stem = record.stem.removesuffix(_IMAGE)
        write_picture(self.path(f"{stem}.png"), labels.astype(np.uint8))

    def finish(self, records: Records) -> None:
        names = sorted((CITYSCAPES[name], name) for name in self.index)
        write_text(self.path("labels.txt"), "".join(f"{number} {name}\n" for number, name in names))
