"""COCO's instances as pictures with a mask for each category that is in them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.files.pictures import load_image
from ovseg.results.coco import Mask


def read_coco2017(root: Path, split: str = "val") -> SampleSet:
    """Read COCO 2017 as it is unpacked: annotations/instances_SPLIT2017.json, SPLIT2017/*.jpg.

    The pictures may lie in images/SPLIT2017 too. Raises UsageError, DataError as ``read_coco``.
    """
    folders = [root / f"{split}2017", root / "images" / f"{split}2017"]
    images = next((folder for folder in folders if folder.is_dir()), None)
    if images is None:
        raise UsageError(f"expected COCO 2017 with {split}2017, {folders[0]} does not exist")
    return read_coco(root / "annotations" / f"instances_{split}2017.json", images)


def read_coco(instances: Path, images: Path) -> SampleSet:
    """Read COCO's instances JSON: the union of a category's instances is its mask; crowds do not count.

    Args:
        instances: the JSON file.
        images: the folder of the images it names.

    Raises:
        UsageError: the file is missing or is no instances JSON.
        DataError: while it is read, an image has another size than its annotations, or one is damaged.
    """
    if not instances.is_file():
        raise UsageError(f"expected COCO's instances JSON, {instances} does not exist")
    try:
        content = json.loads(instances.read_bytes())
        names = {c["id"]: str(c["name"]) for c in content["categories"]}
        rows = sorted((r["id"], str(r["file_name"]), r["height"], r["width"]) for r in content["images"])
        annotations = defaultdict(list)
        for one in content["annotations"]:
            annotations[one["image_id"]].append(one)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"expected COCO's instances JSON, {instances} cannot be read: {error!r}") from None

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
