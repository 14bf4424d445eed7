"""A run whose finder needs no model, for tests that kill it: python slow_finder.py PHOTOS OUT SECONDS."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from ovseg.annotation.folder import RunFolder
from ovseg.annotation.formats import WRITERS, Target
from ovseg.annotation.inputs import find_inputs
from ovseg.annotation.records import Picture, Region
from ovseg.annotation.run import run_jobs
from ovseg.results.coco import Mask

NAMES = ("dark", "bright")
FORMATS = ("coco", "coco-panoptic", "yolo", "labelme", "label-studio", "cvat", "voc", "mmseg")
SETTINGS = {"classes": {"names": list(NAMES)}, "options": {"task": "instances"}}


class Brightness:
    """Two regions a picture, by brightness. Each depends on the size of the batch, as CLIP's last bits do."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.calls = []

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


def run(photos, out, finder, formats=FORMATS, settings=SETTINGS, mix=False, **options):
    """What the command does, with another finder."""
    jobs, _ = find_inputs([photos], recursive=True, out=Path(out))
    with RunFolder(Path(out), settings, {}, mix) as folder:
        names = folder.info.names
        writers = [WRITERS[name](Target(Path(out) / name, names)) for name in formats]
        return run_jobs(jobs, folder, finder, writers, group=4, **options)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], Brightness(float(sys.argv[3])))
    assert np
