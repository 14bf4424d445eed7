"""What to look at after a review: the confusion of classes, and pictures of the images that differ most."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats import Annotations
from ovseg.annotation.records import ByName, Record, without_ending
from ovseg.annotation.review import Review, painted
from ovseg.errors import OvsegError
from ovseg.files.find import cut_name
from ovseg.files.pictures import load_image
from ovseg.files.write import make_folder, write_picture
from ovseg.results.figures import fit, grid, overlay_labels, palette, titled, with_legend
from ovseg.words.names import fold

NOTHING = "(none)"
"""What stands for pixels of no class."""
HEIGHT = 360
"""Of each picture, in pixels."""
GROUND = 128
"""The grey of an image that cannot be found."""


def confusion_table(found: Review) -> str:
    """The confusion as CSV: classes of the truth by rows, of the run by columns, in pixels."""
    names = [*found.classes, NOTHING]
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["truth / run", *names])
    rows.writerows([name, *row] for name, row in zip(names, found.confusion.tolist(), strict=True))
    return file.getvalue()


def draw_worst(run: Annotations, truth: Annotations, found: Review, folder: Path, most: int) -> list[Path]:
    """Draw the images with the lowest mean IoU: the truth on the left, the run on the right.

    Args:
        run, truth: what was compared.
        found: the comparison.
        folder: where the pictures go, called by their ranks: 01_NAME.png.
        most: at most so many images.

    Returns:
        The pictures, the worst first.

    Raises:
        OvsegError: a picture cannot be written.
    """
    ranks = {name: (rank, iou) for rank, (iou, name) in enumerate(sorted(found.ious)[:most], 1)}
    if not ranks:
        return []
    make_folder(folder)
    known, paths = ByName(truth.records()), {}
    for record in run.records():
        true = known.find(record.name)
        if true is None or record.name not in ranks:
            continue
        rank, iou = ranks[record.name]
        path = folder / f"{rank:02d}_{cut_name(without_ending(record.name).replace('/', '_'))}.png"
        write_picture(path, _picture(record, true, list(found.classes), iou))
        paths[rank] = path
    return [paths[rank] for rank in sorted(paths)]


def _picture(record: Record, true: Record, classes: list[str], iou: float) -> NDArray[np.uint8]:
    """Truth and run of an image beside each other, with a legend of the classes that one of them has."""
    image = _image(record, true)
    colours = palette(len(classes))
    names = {fold(name): name for name in classes}
    maps = [painted(one, names) for one in (true, record)]
    drawn = [
        np.where((one == len(classes))[..., None], image, overlay_labels(image, one, colours)) for one in maps
    ]
    there = sorted({int(value) for one in maps for value in np.unique(one)} - {len(classes)})
    titles = (f"truth: {record.name}", f"run: mean IoU {100 * iou:.0f} %")
    panels = [titled(fit(one, HEIGHT), title) for one, title in zip(drawn, titles, strict=True)]
    red, green, blue = colours.T.tolist() if classes else ([], [], [])
    return with_legend(grid([panels]), [(classes[k], (red[k], green[k], blue[k])) for k in there])


def _image(record: Record, true: Record) -> NDArray[np.uint8]:
    """The picture of an image; grey where neither side knows one that can be read."""
    for place in (record.image, true.image):
        try:
            picture = None if place is None else load_image(place)
        except OvsegError:
            continue
        if picture is not None and picture.shape[:2] == record.size:
            return picture
    return np.full((*record.size, 3), GROUND, np.uint8)
