"""Cityscapes: one PNG an image with its labelIds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ovseg.annotation.formats.base import Records, Writer, paint
from ovseg.annotation.formats.source import Annotations, Source, files_below, label_record, records_of
from ovseg.annotation.records import Record
from ovseg.errors import UsageError
from ovseg.files.labels import load_labels
from ovseg.files.write import write_picture

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
KNOWN = 7
"""The first of Cityscapes' labelIds that is a class; those before count nowhere."""
IDS, IMAGE = "_gtFine_labelIds.png", "_leftImg8bit"
FRAME = re.compile(r"_\d{6}_\d{6}$")
"""The end of <city>_<sequence>_<frame>, the name of a prediction."""


def read_cityscapes(source: Source) -> Annotations:
    """Cityscapes' labelIds: its *_gtFine_labelIds.png, or predictions. Raises DataError."""
    names = {number: name for name, number in CITYSCAPES.items() if number >= KNOWN}
    files = files_below(source.path, ".png")
    truth = [file for file in files if file.name.endswith(IDS)]

    def record(file: Path) -> Record:
        stem = file.relative_to(source.path).as_posix().removesuffix(IDS if truth else ".png")
        name = f"{stem}{IMAGE}.png" if truth or FRAME.search(stem) else f"{stem}.png"
        return label_record(name, load_labels(file), names, set(range(KNOWN)), source.image(name))

    records = records_of(truth or files, record, "a label map of Cityscapes")
    return Annotations(tuple(names.values()), records, True)


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
        stem = record.stem.removesuffix(IMAGE)
        write_picture(self.path(f"{stem}.png"), labels.astype(np.uint8))

    def finish(self, records: Records) -> None:
        names = sorted((CITYSCAPES[name], name) for name in self.index)
        self.save("labels.txt", ["".join(f"{number} {name}\n" for number, name in names)])
