"""Label maps as PNG: MMSegmentation's folders, and Cityscapes' labelIds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np

from ovseg.annotation.formats.base import Records, Writer, image_name, paint
from ovseg.annotation.formats.objects import label_record
from ovseg.annotation.formats.source import (
    Annotations,
    Source,
    files_below,
    find_image,
    read_names,
    reading,
    records_of,
    stem_below,
)
from ovseg.annotation.records import Record
from ovseg.errors import DataError, UsageError
from ovseg.files.labels import load_labels
from ovseg.files.paths import shown
from ovseg.files.write import write_labels, write_picture
from ovseg.results import void_value
from ovseg.results.figures import palette

FOLDERS = ("labels", "masks", "annotations")
"""Where label maps lie in a data set."""


def read_mmseg(source: Source) -> Annotations:
    """Index PNG files: value k is class k, 255 is void; names are given or in dataset.py or classes.txt.

    Raises:
        DataError: there are no names, no files, or a value is no class.
    """
    root = source.path
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root)
    names = source.names or _names(root) or _names(root.parent)
    if not names:
        raise DataError(f"expected the classes of {shown(root)}: neither dataset.py nor classes.txt is there")
    values = dict(enumerate(names))
    void = void_value(len(names))
    images = [source.images] if source.images else [root / "images", root.parent / "images"]

    def record(file: Path) -> Record:
        labels = load_labels(file)
        wrong = sorted(set(np.unique(labels).tolist()) - set(values) - {void})
        if wrong:
            raise DataError(f"expected labels below {len(names)} or {void}, {shown(file)} holds {wrong[0]}")
        name, image = find_image(images, stem_below(file, folder))
        return label_record(name, labels, values, {void}, image, source.skipped)

    return Annotations(names, records_of(files_below(folder, ".png"), record, "a label map"), stuff=True)


def _names(root: Path) -> tuple[str, ...]:
    """The classes that dataset.py or classes.txt of a folder name; none where neither is there."""
    script = root / "dataset.py"
    if not script.is_file():
        return read_names(root / "classes.txt")
    with reading(script, "a data set of MMSegmentation"):
        for node in ast.parse(script.read_text(encoding="utf-8-sig")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "metainfo":
                return tuple(str(name) for name in ast.literal_eval(node.value)["classes"])
    return ()


class Mmseg(Writer):
    """``labels/NAME.png`` with class indices and a palette, ``images/`` as links, and ``dataset.py``.

    A pixel without a region belongs to the class "background" where the list has one, and is void otherwise:
    255, and 65535 in 16-bit files of more than 255 classes, which MMSegmentation's own loader cannot read
    and ``ovseg.mmseg`` can.
    """

    name = "mmseg"
    holds_void = True

    def write(self, record: Record) -> None:
        names = self.target.names
        void = void_value(len(names))
        values = {name: number for number, name in enumerate(names)}
        rest = void if self.target.background is None else self.target.background
        labels = paint(record, values, rest, void, np.uint8 if void == 255 else np.uint16)
        write_labels(self.path("labels", f"{record.stem}.png"), labels, palette(min(len(names), 256)))
        self.link(record, f"images/{image_name(record)}")

    def finish(self, records: Records) -> None:
        names = self.target.names
        text = (
            "# A data set of MMSegmentation: metainfo, and the folders below data_root.\n"
            f"metainfo = {{'classes': {names!r}, 'palette': {palette(len(names)).tolist()}}}\n"
            "data_prefix = {'img_path': 'images', 'seg_map_path': 'labels'}\n"
            f"ignore_index = {void_value(len(names))}\n"
        )
        self.save("dataset.py", [text])


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
IDS, IMAGE = re.compile(r"_gt(Fine|Coarse)_labelIds\.png$"), "_leftImg8bit"
OTHER_IDS = re.compile(r"_(labelTrainIds|instanceTrainIds|instanceIds|color)\.png$")
"""Files beside the labelIds whose numbers mean something else."""
FRAME = re.compile(r"_\d{6}_\d{6}$")
"""The end of <city>_<sequence>_<frame>, the name of a prediction."""


def read_cityscapes(source: Source) -> Annotations:
    """Cityscapes' labelIds: its *_gtFine_labelIds.png or *_gtCoarse_labelIds.png, or predictions.

    Raises DataError where there are none, also for a value that is no labelId.
    """
    names = {number: name for name, number in CITYSCAPES.items() if number >= KNOWN}
    files = [file for file in files_below(source.path, ".png") if not OTHER_IDS.search(file.name)]
    truth = [file for file in files if IDS.search(file.name)]
    if not files:
        raise DataError(f"expected labelIds of Cityscapes in {shown(source.path)}, it has other files only")

    def record(file: Path) -> Record:
        labels = load_labels(file)
        wrong = sorted(set(np.unique(labels).tolist()) - set(CITYSCAPES.values()))
        if wrong:
            raise DataError(f"expected labelIds of Cityscapes, {shown(file)} holds {wrong[0]}")
        whole = file.relative_to(source.path).as_posix()
        stem = IDS.sub("", whole) if truth else whole.removesuffix(".png")
        name = f"{stem}{IMAGE}.png" if truth or FRAME.search(stem) else f"{stem}.png"
        return label_record(name, labels, names, set(range(KNOWN)), source.image(name), source.skipped)

    records = records_of(truth or files, record, "a label map of Cityscapes")
    return Annotations(tuple(names.values()), records, True)


class Cityscapes(Writer):
    """``NAME.png`` with Cityscapes' labelIds in one folder; 0 where nothing is known."""

    name = "cityscapes"
    holds_void = True

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
