"""MMSegmentation's folders: index PNG files, with the names in dataset.py or classes.txt."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

from ovseg.annotation.formats.base import Records, Writer, image_name, paint
from ovseg.annotation.formats.source import (
    Annotations,
    Source,
    files_below,
    find_image,
    label_record,
    read_names,
    reading,
    records_of,
    stem_below,
)
from ovseg.annotation.records import Record
from ovseg.errors import DataError
from ovseg.files.labels import load_labels
from ovseg.files.paths import shown
from ovseg.files.write import write_labels
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
        return label_record(name, labels, values, {void}, image)

    return Annotations(names, records_of(files_below(folder, ".png"), record, "a label map"), stuff=True)


def _names(root: Path) -> tuple[str, ...]:
    """The classes that dataset.py or classes.txt of a folder name; none where neither is there."""
    script = root / "dataset.py"
    if not script.is_file():
        return read_names(root / "classes.txt")
    with reading(script, "a data set of MMSegmentation"):
        for node in ast.parse(script.read_text(encoding="utf-8")).body:
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
