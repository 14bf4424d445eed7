"""PASCAL VOC: SegmentationClass, SegmentationObject, Annotations, ImageSets and labelmap.txt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats.base import Records, Writer, image_name, paint, xml_text
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
from ovseg.annotation.records import Record, Region
from ovseg.errors import DataError, UsageError
from ovseg.files.formats import open_picture
from ovseg.files.formats import reading as decoding
from ovseg.files.labels import load_labels
from ovseg.files.paths import open_file, shown
from ovseg.files.pictures import load_image
from ovseg.files.write import write_labels
from ovseg.results.coco import Mask
from ovseg.words.vocabulary import load_vocabulary

VOID = 255
FOLDERS = ("SegmentationClassPNG", "SegmentationClass")
"""The first where an older LabelMe has arrays in the second."""
BACKGROUND = ("background", "_background_")
Colours = dict[tuple[int, ...], int]


def read_voc(source: Source) -> Annotations:
    """SegmentationClass, with objects if there is a SegmentationObject; 255 is void.

    Names are in CVAT's labelmap.txt, with colours, or in LabelMe's class_names.txt, or are VOC's own.

    Raises:
        DataError: a file is missing or damaged, or holds a value or colour that has no name.
    """
    root = source.path
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root / FOLDERS[0])
    names, colours = _classes(root)
    images = [source.images] if source.images else [root / "JPEGImages", root.parent / "JPEGImages"]
    classes = {number: name for number, name in names.items() if name not in BACKGROUND}

    def record(file: Path) -> Record:
        stem = stem_below(file, folder)
        labels = _indices(file, colours)
        unknown = sorted(set(np.unique(labels).tolist()) - set(names) - {VOID})
        if unknown:
            raise DataError(f"expected labels below {len(names)} or {VOID}, {shown(file)} holds {unknown[0]}")
        name, image = find_image(images, stem)
        found = label_record(name, labels, classes, {VOID}, image, source.skipped)
        objects = root / "SegmentationObject" / f"{stem}.png"
        return _with_objects(found, labels, _objects(objects), classes) if objects.is_file() else found

    stuff = not (root / "SegmentationObject").is_dir()
    records = records_of(files_below(folder, ".png"), record, "labels of VOC")
    return Annotations(tuple(classes.values()), records, stuff)


def _classes(root: Path) -> tuple[dict[int, str], Colours]:
    """The name of each number, and the number of each colour."""
    path = root / "labelmap.txt"
    if not path.is_file():
        listed = [name for name in read_names(root / "class_names.txt") if name != "__ignore__"]
        names = dict(enumerate(listed or load_vocabulary("voc21").names))
        return names, {tuple(colour): number for number, colour in enumerate(voc_colours().tolist())}
    names, colours = {}, {}
    with reading(path, "a labelmap.txt"):
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
        for number, line in enumerate(lines):
            names[number], colour = line.split(":")[:2]
            if colour:
                colours[tuple(int(side) for side in colour.split(","))] = number
    colours.setdefault(tuple(voc_colours()[VOID].tolist()), VOID)
    return names, colours


def _indices(file: Path, colours: Colours) -> NDArray[np.integer]:
    """The indices of a palette PNG, or of the colours of an RGB file."""
    coded = _coded(file)
    if coded is None:
        return load_labels(file)
    found, places = np.unique(coded, return_inverse=True)
    rgb = [(value >> 16, (value >> 8) & 255, value & 255) for value in found.tolist()]
    wrong = next((colour for colour in rgb if colour not in colours), None)
    if wrong is not None:
        raise DataError(f"expected the colours of classes, {shown(file)} holds {wrong}")
    return np.array([colours[colour] for colour in rgb])[places].reshape(coded.shape)


def _objects(file: Path) -> NDArray[np.integer]:
    """The number of each pixel's object; in an RGB file any colour but black is one."""
    coded = _coded(file)
    if coded is None:
        return load_labels(file)
    found, places = np.unique(coded, return_inverse=True)
    void = int.from_bytes(voc_colours()[VOID].tobytes(), "big")
    numbers = np.where(found == void, VOID, np.arange(len(found)) + VOID + 1)
    return np.where(found == 0, 0, numbers)[places].reshape(coded.shape)


def _coded(file: Path) -> NDArray[np.int64] | None:
    """The colours (H, W) of an RGB file as numbers, 65536 R + 256 G + B; None for one with indices."""
    with open_file(file) as stream, decoding(shown(file)):
        if open_picture(stream, shown(file)).mode not in ("RGB", "RGBA"):
            return None
    red, green, blue = load_image(file).astype(np.int64).transpose(2, 0, 1)
    return (red << 16) | (green << 8) | blue


def _with_objects(
    record: Record, labels: NDArray[np.integer], objects: NDArray[np.integer], names: dict[int, str]
) -> Record:
    """A record with one region for each class of each object; pixels of no object are one region a class."""
    if objects.shape != labels.shape:
        raise DataError(f"expected objects of {labels.shape}, got {objects.shape}")
    alone = np.where(objects == VOID, 0, objects).astype(np.int64)
    found = Mask.of_values((alone << 16) | labels)
    regions = [Region(names[value & 65535], mask) for value, mask in found if value & 65535 in names]
    return Record(record.name, record.size, tuple(regions), record.stem, record.image, void=record.void)


def voc_colours() -> NDArray[np.uint8]:
    """The 256 colours of PASCAL VOC, (256, 3): the bits of an index spread over red, green and blue.

    >>> voc_colours()[[0, 1, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [224, 224, 192]]
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


class Voc(Writer):
    """Index PNG files with VOC's palette: 0 is the background, class k of the list is k + 1, 255 is void."""

    name = "voc"
    holds_void = True

    def check(self) -> None:
        count = len(self.target.objects)
        if count > VOID - 1:
            raise UsageError(f"expected at most {VOID - 1} classes for voc, got {count}")
        for name in self.target.objects:
            if ":" in name or name.startswith("#") or len(name.splitlines()) > 1:
                raise UsageError(
                    f"expected names without ':' and without '#' in front for labelmap.txt of voc, got {name!r}"
                )

    def write(self, record: Record) -> None:
        colours = voc_colours()
        values = {name: number + 1 for name, number in self.index.items()}
        classes = paint(record, values, 0, VOID, np.uint8).astype(np.uint8)
        objects = np.where(classes == VOID, VOID, 0).astype(np.uint8)
        for number, one in enumerate(self.regions(record), 1):
            objects[one.mask.array()] = min(number, VOID - 1)
        write_labels(self.path("SegmentationClass", f"{record.stem}.png"), classes, colours)
        write_labels(self.path("SegmentationObject", f"{record.stem}.png"), objects, colours)
        self.save(f"Annotations/{record.stem}.xml", [self._xml(record)])
        self.link(record, f"JPEGImages/{image_name(record)}")

    def finish(self, records: Records) -> None:
        colours = voc_colours()
        listed = {"background": 0, **{name: k + 1 for name, k in self.index.items()}}
        lines = (f"{name}:{','.join(map(str, colours[k].tolist()))}::\n" for name, k in listed.items())
        self.save("labelmap.txt", ["# label:color_rgb:parts:actions\n" + "".join(lines)])
        stems = []
        for one in records():
            stems.append(f"{one.stem}\n")
            if len(self.regions(one)) > VOID - 1:
                kind = f"numbers of objects beyond {VOID - 1} of one image in SegmentationObject"
                self.target.skipped.add(kind, one.name)
        self.save("ImageSets/Segmentation/default.txt", stems)

    def _xml(self, record: Record) -> str:
        height, width = record.size
        folder, _, file = image_name(record).rpartition("/")
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
