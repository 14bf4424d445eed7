"""COCO-Stuff's 171 classes and COCO-Object's 81, of one split.

COCO-Stuff publishes stuffthingmaps: one PNG an image, pixel value = category id - 1, 255 unlabelled.
Ids go from 1 to 182: 1 to 91 are things, of which COCO uses 80, 92 to 182 are stuff.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError
from ovseg.evaluation.data.convert.write import (
    Converted,
    files_in,
    look_up,
    read_json,
    read_labels,
    write_all,
)
from ovseg.metrics import VOID
from ovseg.results.coco import Mask
from ovseg.words.vocabulary import load_vocabulary

THINGS = 91
IDS = 182
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Ids of things that were planned for COCO and never annotated (COCO-Stuff's list of labels)."""

STUFF_ENDING = "_labelTrainIds.png"
OBJECT_ENDING = "_instanceTrainIds.png"


def stuff_table() -> NDArray[np.int_]:
    """(256,): pixel value in stuffthingmaps -> class 0 to 170; -1 where COCO-Stuff has no class."""
    table = np.full(256, -1)
    used = [k - 1 for k in range(1, IDS + 1) if k not in UNUSED]
    table[used] = np.arange(len(used))
    table[VOID] = VOID
    return table


def object_table() -> NDArray[np.int_]:
    """(256,): pixel value in stuffthingmaps -> 1 to 80, or 0 for stuff and what has no label."""
    table = stuff_table()
    things = np.arange(256) < THINGS
    return np.where(table < 0, -1, np.where(things, table + 1, 0))


def convert_coco_stuff(maps: Path, out: Path) -> Converted:
    """``maps``: stuffthingmaps' folder of one split, *.png. ``out``: where <image>_labelTrainIds.png go."""
    return _convert_maps(maps, out, stuff_table(), STUFF_ENDING, "COCO-Stuff")


def convert_coco_object(source: Path, out: Path) -> Converted:
    """``source``: instances_val2017.json, or stuffthingmaps' folder, whose things are what peers score.

    ``out``: where <image>_instanceTrainIds.png go. From instances: where they overlap the smaller one
    counts, and crowds, the coarsest, lie under everything.
    """
    if source.is_dir():
        return _convert_maps(source, out, object_table(), OBJECT_ENDING, "COCO-Object")
    content = read_json(source, ("images", "annotations", "categories"))
    names = load_vocabulary("coco_object").names
    classes: dict[int, int] = {}
    for category in content["categories"]:
        if category["name"] not in names:
            raise DataError(f"expected COCO's 80 categories, {source} has {category['name']!r}")
        classes[category["id"]] = names.index(category["name"])
    if len(classes) != len(names) - 1:
        raise DataError(f"expected COCO's {len(names) - 1} categories, {source} has {len(classes)}")
    objects = defaultdict(list)
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    jobs = []
    for image in content["images"]:
        name = Path(image["file_name"]).stem + OBJECT_ENDING
        jobs.append((out / name, lambda image=image: draw_objects(image, objects[image["id"]], classes)))
    return write_all(jobs, "COCO-Object")


def draw_objects(
    image: dict[str, Any], objects: list[dict[str, Any]], classes: dict[int, int]
) -> NDArray[np.uint8]:
    """(H, W) uint8 of one image's annotations, 0 where there is none."""
    size = (image["height"], image["width"])
    labels = np.zeros(size, np.uint8)
    for each in sorted(objects, key=lambda o: (-o["iscrowd"], -o["area"], o["id"])):
        if each["category_id"] not in classes:
            raise DataError(
                f"expected a category of the file, annotation {each['id']} has {each['category_id']}"
            )
        labels[Mask.of_coco(each["segmentation"], size).array()] = classes[each["category_id"]]
    return labels


def _convert_maps(maps: Path, out: Path, table: NDArray[np.int_], ending: str, title: str) -> Converted:
    sources = [p for p in files_in(maps, ".png") if not p.name.endswith((STUFF_ENDING, OBJECT_ENDING))]
    if not sources:
        raise DataError(f"expected stuffthingmaps, {maps} holds only converted files")
    wanted = "ids of COCO-Stuff less one, or 255"
    jobs = [
        (
            out / (path.stem + ending),
            lambda path=path: look_up(read_labels(path), table, path, wanted),
        )
        for path in sources
    ]
    return write_all(jobs, title)
