"""Label maps: folders of index PNG files, Cityscapes' labelIds, PASCAL VOC."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.annotation.formats.labels import CITYSCAPES
from ovseg.annotation.formats.voc import VOID
from ovseg.annotation.readers.base import Annotations, Source, files_below, label_record, reading
from ovseg.annotation.records import Mask, Record, Region
from ovseg.errors import DataError
from ovseg.files.find import suffixes
from ovseg.files.labels import load_labels
from ovseg.files.paths import shown
from ovseg.results import void_value
from ovseg.words.vocabulary import load_vocabulary

FOLDERS = ("labels", "masks", "annotations")
"""Where label maps lie in a data set."""
IDS, IMAGE = "_gtFine_labelIds.png", "_leftImg8bit"
FRAME = re.compile(r"_\d{6}_\d{6}$")
"""The end of <city>_<sequence>_<frame>, the name of a prediction."""
KNOWN = 7
"""The first of Cityscapes' labelIds that is a class; those before count nowhere."""


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

    def records() -> Iterator[Record]:
        for file in files_below(folder, ".png"):
            labels = load_labels(file)
            wrong = sorted(set(np.unique(labels).tolist()) - set(values) - {void})
            if wrong:
                raise DataError(
                    f"expected labels below {len(names)} or {void}, {shown(file)} holds {wrong[0]}"
                )
            name, image = _image(source, root, file.relative_to(folder).as_posix().removesuffix(".png"))
            yield label_record(name, labels, values, {void}, image)

    return Annotations(names, records, True, "mmseg")


def read_cityscapes(source: Source) -> Annotations:
    """Cityscapes' labelIds: its *_gtFine_labelIds.png, or predictions. Raises DataError."""
    names = {number: name for name, number in CITYSCAPES.items() if number >= KNOWN}

    def records() -> Iterator[Record]:
        files = files_below(source.path, ".png")
        truth = [file for file in files if file.name.endswith(IDS)]
        for file in truth or files:
            stem = file.relative_to(source.path).as_posix().removesuffix(IDS if truth else ".png")
            name = f"{stem}{IMAGE}.png" if truth or FRAME.search(stem) else f"{stem}.png"
            yield label_record(name, load_labels(file), names, set(range(KNOWN)), source.image(name))

    return Annotations(tuple(names.values()), records, True, "cityscapes")


def read_voc(source: Source) -> Annotations:
    """SegmentationClass, with the objects of SegmentationObject where that is there; 255 is void.

    Raises:
        DataError: a file is missing or damaged.
    """
    root = source.path
    folder = root / "SegmentationClass"
    listed = _labelmap(root / "labelmap.txt") or {k: (n, None) for k, n in enumerate(_voc_names())}
    names = {number: name for number, (name, _) in listed.items() if number}
    colours = {colour: number for number, (_, colour) in listed.items() if colour is not None}

    def records() -> Iterator[Record]:
        for file in files_below(folder, ".png"):
            stem = file.relative_to(folder).as_posix().removesuffix(".png")
            with reading(file, "labels of VOC"):
                labels = _indices(file, colours)
                name, image = _image(source, root, stem, "JPEGImages")
                record = label_record(name, labels, names, {VOID}, image)
                objects = root / "SegmentationObject" / f"{stem}.png"
                if objects.is_file():
                    record = _with_objects(record, labels, _indices(objects, None), names)
            yield record

    is_stuff = not (root / "SegmentationObject").is_dir()
    return Annotations(tuple(names.values()), records, is_stuff, "voc")


def _with_objects(
    record: Record, labels: NDArray[np.integer], objects: NDArray[np.integer], names: dict[int, str]
) -> Record:
    if objects.shape != labels.shape:
        raise DataError(f"expected objects of {labels.shape}, got {objects.shape}")
    regions = []
    for number in np.unique(objects).tolist():
        if number in (0, VOID):
            continue
        mask = objects == number
        owners = np.bincount(labels[mask], minlength=VOID + 1)
        regions += [
            Region(names[value], Mask.of(mask & (labels == value)))
            for value in np.flatnonzero(owners).tolist()
            if value in names
        ]
    return Record(record.name, record.size, tuple(regions), record.stem, record.image, void=record.void)


def _indices(file: Path, colours: dict[tuple[int, ...], int] | None) -> NDArray[np.integer]:
    """The indices of a PNG with a palette, or those that the colours of an RGB file stand for."""
    with Image.open(file) as image:
        if image.mode not in ("RGB", "RGBA"):
            return load_labels(file)
        rgb = np.asarray(image.convert("RGB")).astype(np.int64)
    coded = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    if colours is None:  # objects: any colour is an object
        values, places = np.unique(coded, return_inverse=True)
        if len(values) > VOID:
            raise DataError(f"expected at most {VOID} objects, {shown(file)} has {len(values)} colours")
        return places.reshape(coded.shape) + (0 if values[0] == 0 else 1)
    out = np.full(coded.shape, VOID)
    for (red, green, blue), number in colours.items():
        out[coded == (red << 16) | (green << 8) | blue] = number
    return out


def _labelmap(path: Path) -> dict[int, tuple[str, tuple[int, ...] | None]]:
    """Number, name and colour of each class of CVAT's labelmap.txt; empty where there is none."""
    if not path.is_file():
        return {}
    found: dict[int, tuple[str, tuple[int, ...] | None]] = {}
    with reading(path, "a labelmap.txt"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
        for number, line in enumerate(lines):
            name, colour = line.split(":")[:2]
            found[number] = (name, tuple(int(side) for side in colour.split(",")) if colour else None)
    return found


def _voc_names() -> tuple[str, ...]:
    return load_vocabulary("voc21").names


def _names(root: Path) -> tuple[str, ...] | None:
    """The classes that dataset.py or classes.txt of a folder name."""
    script, listed = root / "dataset.py", root / "classes.txt"
    if script.is_file():
        with reading(script, "a data set of MMSegmentation"):
            for node in ast.parse(script.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "metainfo":
                    return tuple(str(name) for name in ast.literal_eval(node.value)["classes"])
    if listed.is_file():
        with reading(listed, "a list of classes"):
            lines = listed.read_text(encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return None


def _image(source: Source, root: Path, stem: str, folder: str = "images") -> tuple[str, str | None]:
    """The name and the place of the image with a stem; the place is None where it is not found."""
    for images in [source.images] if source.images else [root / folder, root.parent / folder]:
        for ending in sorted(suffixes()):
            for path in (images / f"{stem}{ending}", images / f"{stem}{ending.upper()}"):
                if path.is_file():
                    return path.relative_to(images).as_posix(), str(path.absolute())
    return f"{stem}.jpg", None
