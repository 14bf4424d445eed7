"""Hard cases for every format, as records with known masks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.annotation.formats import WRITERS, Target
from ovseg.annotation.records import Record, Region
from ovseg.options import FormatOptions
from ovseg.results.coco import Mask

NAMES = ("person", "road", "car", "sky")


def disk(size, y, x, radius):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def hard_masks(size=(60, 80)):
    """label, mask: a hole, several parts, one pixel, corners that touch, the border; no shared pixels."""
    hole = disk(size, 20, 20, 14) & ~disk(size, 20, 20, 6)
    parts = disk(size, 12, 58, 7) | disk(size, 34, 66, 5)
    pixel = np.zeros(size, bool)
    pixel[45, 10] = True
    stairs = np.eye(*size, 8, dtype=bool) & (np.arange(size[0]) > 48)[:, None]
    border = np.zeros(size, bool)
    border[57:, 70:] = True
    return [("person", hole), ("car", parts), ("car", pixel), ("road", stairs), ("sky", border)]


@pytest.fixture(scope="session")
def hard():
    """Three records: hard masks, an image without any, an image that is one object."""
    size = (60, 80)
    regions = tuple(
        Region(label, Mask.of(mask), 0.25 + index / 8, f"a {label}", "tiny")
        for index, (label, mask) in enumerate(hard_masks(size))
    )
    return [
        Record("sub/empty.png", (24, 32)),
        Record("sub/full.png", (16, 10), (Region("sky", Mask.of(np.ones((16, 10), bool)), 0.5),)),
        Record("ümlaut, 'a' \"b\".png", size, regions),
    ]


@pytest.fixture
def images(tmp_path, hard):
    """A folder with the images of the hard records, and the records with their places."""
    folder = tmp_path / "photos"
    out = []
    for record in hard:
        path = folder / record.name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*record.size, 3), np.uint8)).save(path)
        out.append(Record(record.name, record.size, record.regions, image=str(path)))
    return folder, out


@pytest.fixture
def written(tmp_path, images):
    """Write the hard records in a format; gives the format's folder."""

    def write(name, records=None, names=NAMES, **options):
        background = next((k for k, one in enumerate(names) if one == "background"), None)
        writer = WRITERS[name](Target(tmp_path / "out", names, background, options=FormatOptions(**options)))
        found = sorted(images[1] if records is None else records, key=lambda one: one.stem)
        for record in found:
            writer.write(record)
        writer.finish(lambda: iter(found))
        return tmp_path / "out"

    return write


@pytest.fixture(scope="session")
def models():
    """The two smallest models, which know the scenes."""
    return ovseg.load_model("tiny"), ovseg.load_segmenter("tiny")
