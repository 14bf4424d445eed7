"""A run whose finder needs no model, for tests that kill it: python slow_finder.py PHOTOS OUT SECONDS."""

from __future__ import annotations

import sys
import time

from ovseg.annotation.records import Picture, Region
from ovseg.annotation.run.annotate import annotate
from ovseg.results import Mask

NAMES = ("dark", "bright")
FORMATS = ("coco", "coco-panoptic", "yolo", "labelme", "label-studio", "cvat", "voc", "mmseg")
FEW = ("coco", "yolo", "labelme")


class Brightness:
    """Two regions a picture, by brightness. Each depends on the size of the batch, as CLIP's last bits do."""

    batch = 4

    def __init__(self, seconds=0.0, **options):
        self.seconds, self.options = seconds, options
        self.calls = []

    def describe(self):
        return {"options": {"overlap": False, **self.options}}

    def find(self, pictures, wanted=None):
        self.calls.append((len(pictures), list(wanted or [True] * len(pictures))))
        for index, picture in enumerate(pictures):
            if wanted is not None and not wanted[index]:
                yield None
                continue
            time.sleep(self.seconds)
            bright = picture.mean(axis=-1) > 128
            score = len(pictures) / 10
            yield Picture(
                tuple(
                    Region(name, Mask.of(mask), score, name, "brightness")
                    for name, mask in (("dark", ~bright), ("bright", bright))
                    if mask.any()
                ),
                {"dark": 0.9},
            )


def run(photos, out, finder, formats=FEW, names=NAMES, **options):
    """What the command does, with another finder."""
    return annotate(photos, names, out, finder, formats, recursive=True, **options)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], Brightness(float(sys.argv[3])), FORMATS)
