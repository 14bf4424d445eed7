"""COCO: instances and COCO-Stuff as pictures with masks, and label maps of COCO-Stuff and COCO-Object.

COCO-Stuff publishes stuffthingmaps: one PNG an image, pixel value = category id - 1, 255 unlabelled.
Ids go from 1 to 182: 1 to 91 are things, of which COCO uses 80, 92 to 182 are stuff.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.convert import Converted, converted_maps, files_in, read_json, write_all
from ovseg.evaluation.data.samples import Sample, SampleSet, read_pairs
from ovseg.files.pictures import load_image
from ovseg.metrics import VOID
from ovseg.results.coco import Mask
from ovseg.words.vocabulary import load_vocabulary

KEYS = ("images", "annotations", "categories")
THINGS = 91
IDS = 182
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Ids of things that COCO reserved but never annotated (from COCO-Stuff's list of labels)."""

STUFF_ENDING = "_labelTrainIds.png"
OBJECT_ENDING = "_instanceTrainIds.png"


def read_coco2017(root: Path, split: str = "val") -> SampleSet:
    """Read COCO 2017 as unpacked: annotations/instances_SPLIT2017.json, SPLIT2017/*.jpg.

    The pictures may lie in images/SPLIT2017 too. Raises UsageError, DataError as ``read_coco``.
    """
    folders = [root / f"{split}2017", root / "images" / f"{split}2017"]
    images = next((folder for folder in folders if folder.is_dir()), None)
    if images is None:
        raise UsageError(f"expected COCO 2017 with {split}2017, {folders[0]} does not exist")
    return read_coco(root / "annotations" / f"instances_{split}2017.json", images)


def read_coco(instances: Path, images: Path) -> SampleSet:
    """Read COCO's instances JSON: a category's mask is the union of its instances; crowd regions are ignored.

    Args:
        instances: the JSON file.
        images: the folder of the images it names.

    Raises:
        UsageError: the file is missing.
        DataError: it is not an instances JSON; while an image is read, its size differs from its annotations' or
            an annotation is damaged.
    """
    content = read_json(instances, KEYS)
    try:
        names = {c["id"]: str(c["name"]) for c in content["categories"]}
        rows = sorted((r["id"], str(r["file_name"]), r["height"], r["width"]) for r in content["images"])
        annotations = defaultdict(list)
        for one in content["annotations"]:
            annotations[one["image_id"]].append(one)
    except (KeyError, TypeError) as error:
        raise DataError(f"expected COCO's instances JSON, {instances} cannot be read: {error!r}") from None

    def load(index: int) -> Sample:
        number, file_name, height, width = rows[index]
        image = load_image(images / file_name)
        if image.shape[:2] != (height, width):
            raise DataError(
                f"{file_name}: expected {(height, width)} pixels, as annotated, got {image.shape[:2]}"
            )
        return _coco_sample(file_name, image, annotations[number], names)

    def files(index: int) -> tuple[Path]:
        return (images / rows[index][1],)

    def note(index: int) -> str:
        return json.dumps([rows[index], annotations[rows[index][0]]], sort_keys=True, default=repr)

    items = [row[1] for row in rows]
    return SampleSet(instances.stem, tuple(names.values()), items, load, files, note)


def _coco_sample(
    file_name: str, image: NDArray[np.uint8], annotations: list[dict[str, object]], names: dict[object, str]
) -> Sample:
    masks: dict[str, NDArray[np.bool_]] = {}
    valid = np.ones(image.shape[:2], bool)
    for one in annotations:
        try:
            mask = Mask.of_coco(one["segmentation"], (image.shape[0], image.shape[1])).array()
            name = names[one["category_id"]]
        except Exception as error:  # a damaged annotation raises anything
            raise DataError(f"{file_name}: an annotation cannot be read: {error!r}") from None
        if one.get("iscrowd"):
            valid &= ~mask
        else:
            masks[name] = masks[name] | mask if name in masks else mask
    return Sample(file_name, image, masks, valid)


def read_coco_stuff(root: Path, split: str = "val2017") -> SampleSet:
    """Read COCO-Stuff 164k: images/SPLIT/*.jpg, annotations/SPLIT/*_labelTrainIds.png (171 classes).

    ``tools/convert_datasets.py`` makes the label maps. Raises UsageError where there are none.
    """
    ending = STUFF_ENDING
    folder = root / "annotations" / split
    masks = sorted(folder.glob(f"*{ending}"))
    names = load_vocabulary("coco_stuff164k").names
    stems = [path.name.removesuffix(ending) for path in masks]
    pictures = [root / "images" / split / f"{stem}.jpg" for stem in stems]
    return read_pairs("COCO Stuff", names, stems, pictures, masks, folder, f"*{ending}")


# ----------------------------------------------------------------------------------------- conversions


def stuff_table() -> NDArray[np.int_]:
    """(256,): pixel value in stuffthingmaps -> class 0 to 170, or -1 for unused values."""
    table = np.full(256, -1)
    used = [k - 1 for k in range(1, IDS + 1) if k not in UNUSED]
    table[used] = np.arange(len(used))
    table[VOID] = VOID
    return table


def object_table() -> NDArray[np.int_]:
    """(256,): pixel value in stuffthingmaps -> 1 to 80, or 0 for stuff and unlabelled pixels."""
    table = stuff_table()
    things = np.arange(256) < THINGS
    return np.where(table < 0, -1, np.where(things, table + 1, 0))


def convert_coco_stuff(maps: Path, out: Path) -> Converted:
    """Convert stuffthingmaps: ``maps`` is the folder of one split, *.png; ``out`` gets <image>_labelTrainIds.png."""
    return _convert_maps(maps, out, stuff_table(), STUFF_ENDING, "COCO-Stuff")


def convert_coco_object(source: Path, out: Path) -> Converted:
    """Write <image>_instanceTrainIds.png to ``out``.

    ``source`` is instances_val2017.json or the folder of stuffthingmaps, whose things other papers score.
    Where instances overlap, the smaller one wins; crowd regions, the coarsest, lose to all others.
    """
    if source.is_dir():
        return _convert_maps(source, out, object_table(), OBJECT_ENDING, "COCO-Object")
    content = read_json(source, KEYS)
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
    """Draw one image's annotations as (H, W) uint8 classes; 0 is background."""
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
    paths = [(path, out / (path.stem + ending)) for path in sources]
    return converted_maps(paths, table, "ids of COCO-Stuff less one, or 255", title)
