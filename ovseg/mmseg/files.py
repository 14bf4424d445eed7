"""Check the files of a data set: images and labels match, have equal sizes, and none is skipped silently."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovseg.errors import DataError
from ovseg.files.labels import load_labels
from ovseg.files.pictures import load_image
from ovseg.mmseg.datasets import image_names
from ovseg.mmseg.transforms import LoadLabels

SAMPLED = 16
"""The number of labels, spread over the data set, whose values are checked before the run."""
ORIENTATION = 0x0112  # EXIF's tag
EXCHANGED = (5, 6, 7, 8)  # EXIF orientations that swap the sides


def check_nothing_is_skipped(dataset: Any) -> None:
    """Check that every image of the folder is in the data set, and that every label has an image there.

    With a list of images nothing is checked. Raises DataError with names and numbers.
    """
    if dataset.ann_file:
        return
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    owners: dict[str, str] = {}
    for entry in entries:
        label = entry.get("seg_map_path")
        if label is not None and owners.setdefault(label, entry["img_path"]) != entry["img_path"]:
            raise DataError(f"expected one image for {label}, got {owners[label]} and {entry['img_path']}")
    folder = Path(dataset.data_prefix["img_path"])
    known = {os.path.normpath(entry["img_path"]) for entry in entries}
    skipped = [name for name in image_names(folder) if os.path.normpath(folder / name) not in known]
    if skipped and entries:
        endings = Counter(os.path.splitext(name)[1] for name in skipped)
        counted = ", ".join(f"{number} {ending}" for ending, number in sorted(endings.items()))
        raise DataError(
            f"expected all images of {folder} to end in {dataset.img_suffix}, {len(skipped)} would be skipped "
            f"({counted}), the first {skipped[0]}"
        )
    labels = dataset.data_prefix.get("seg_map_path")
    if labels:
        _check_owners(Path(labels), dataset.seg_map_suffix, {os.path.normpath(label) for label in owners})


def check_no_image_twice(entries: Sequence[dict[str, Any]], listed_in: str) -> None:
    """Raise DataError if an image is listed twice: its pixels would count twice in the score."""
    counts = Counter(os.path.normpath(entry["img_path"]) for entry in entries)
    repeated = [path for path, number in counts.items() if number > 1]
    if repeated:
        where = f" in {listed_in}" if listed_in else ""
        raise DataError(
            f"expected each image once{where}, {len(repeated)} come more often, first {repeated[0]}"
        )


def _check_owners(folder: Path, ending: str, owned: set[str]) -> None:
    alone = [
        name
        for name in image_names(folder)
        if name.endswith(ending) and os.path.normpath(folder / name) not in owned
    ]
    if alone and owned:
        shown = ", ".join(alone[:3]) + (", …" if len(alone) > 3 else "")
        raise DataError(f"expected an image for each label of {folder}, {len(alone)} have none: {shown}")


def check_files(entry: dict[str, Any]) -> bool:
    """Check that image and label exist, are images, and have the same size. Reads headers only.

    Returns:
        Whether EXIF turns the image without changing its size, so that the label's orientation is unknown.

    Raises:
        DataError: a file is missing or not an image, or the sizes differ.
    """
    path, label = entry["img_path"], entry.get("seg_map_path")
    size, orientation = _header(path, "an image")
    if label is None:
        return False
    found, _ = _header(label, f"a label for {path}")
    if found != size:
        hint = ""
        if orientation != 1 and found == size[::-1]:
            hint = ": it is not turned as the image's EXIF orientation turns the image"
        raise DataError(
            f"expected {label} at its image's {size[0]} x {size[1]} pixels, got {found[0]} x {found[1]}{hint}"
        )
    return orientation in (2, 3, 4) or (orientation in EXCHANGED and size[0] == size[1])


def check_some_labels(entries: Sequence[dict[str, Any]], classes: int) -> None:
    """Read ``SAMPLED`` labels as a run does. Raises DataError for colours or a value outside the classes."""
    load = LoadLabels(classes=classes)
    for index in np.linspace(0, len(entries) - 1, min(SAMPLED, len(entries))).astype(int):
        if "seg_map_path" in entries[index]:
            load({**entries[index], "seg_fields": []})


def _header(path: str, what: str) -> tuple[tuple[int, int], int]:
    """(width, height) of the upright picture, and its EXIF orientation 1 to 8."""
    if not Path(path).is_file():
        raise DataError(f"expected {what}, {path} does not exist")
    try:
        with Image.open(path) as picture:
            orientation = picture.getexif().get(ORIENTATION, 1)
            size = picture.size[::-1] if orientation in EXCHANGED else picture.size
            return size, orientation
    except Exception:  # Pillow's readers raise anything for another kind of file
        return _decoded(path, what), 1


def _decoded(path: str, what: str) -> tuple[int, int]:
    """(width, height) of a picture that Pillow cannot open, by ovseg's own readers."""
    try:
        height, width = (load_labels(path) if what.startswith("a label") else load_image(path)).shape[:2]
    except Exception:
        raise DataError(f"expected {what}, {path} is not one") from None
    return width, height
