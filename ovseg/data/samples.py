"""Pictures with a mask for each label that is in them, from folders of index masks and from COCO instances.

What is measured per label (mSC, IoU per label, interactive segmentation) reads this one form: ``Sample``.
Images and labels follow the rule of ``ovseg.io.images.load_labels``: both belong to the upright picture.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.io.images import check_labels_fit, load_image, load_labels
from ovseg.metrics import VOID

LARGE_VOID = 65535
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class Sample:
    """One labelled picture.

    Attributes:
        name: of the picture in its set.
        image: (H, W, 3) uint8 RGB.
        masks: (H, W) bool for each label that is in the picture.
        valid: (H, W) bool, the pixels that count.
    """

    name: str
    image: NDArray[np.uint8]
    masks: dict[str, NDArray[np.bool_]]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class SampleSet:
    """A named set of samples with a length; each iteration reads it from the start.

    Attributes:
        title: the set's name in tables.
        names: its labels.
        count: the number of samples.
        read: gives an iterator over them.
    """

    title: str
    names: tuple[str, ...]
    count: int
    read: Callable[[], Iterator[Sample]]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        return self.read()


def void_index(classes: int) -> int:
    """The index of pixels that belong to no class: 255, and 65535 where 255 is a class.

    >>> void_index(21), void_index(459)
    (255, 65535)
    """
    return VOID if classes <= VOID else LARGE_VOID


def from_labels(
    name: str,
    image: NDArray[np.uint8],
    labels: NDArray[np.integer],
    names: Sequence[str],
    ignored: Sequence[str] = (),
) -> Sample:
    """Make a sample from an index mask: pixels of index k belong to ``names[k]``.

    Args:
        name: of the sample.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) indices; ``void_index(len(names))`` marks pixels that do not count.
        names: the name of each index.
        ignored: names that are no labels, such as "background"; their pixels count.

    Raises:
        DataError: an index beyond the names, or another size than the image.

    >>> labels = np.array([[0, 1, 255]], np.uint8)
    >>> sample = from_labels("a", np.zeros((1, 3, 3), np.uint8), labels, ["sky", "tree"])
    >>> list(sample.masks), sample.valid.tolist()
    (['sky', 'tree'], [[True, True, False]])
    """
    check_labels_fit(labels, image.shape, name)
    void = void_index(len(names))
    known = [int(k) for k in np.unique(labels) if k != void]
    wrong = [k for k in known if not 0 <= k < len(names)]
    if wrong:
        raise DataError(f"{name}: wanted labels below {len(names)} or {void}, got {wrong[-1]}")
    masks = {names[k]: labels == k for k in known if names[k] not in ignored}
    return Sample(name, image, masks, labels != void)


def read_folder(
    images: Path,
    masks: Path,
    stems: Sequence[str],
    names: Sequence[str],
    ignored: Sequence[str] = (),
    title: str = "",
) -> SampleSet:
    """Read pictures STEM.jpg (or .jpeg, .png) with index masks STEM.png of another folder, as VOC has them.

    Args:
        images, masks: the folders.
        stems: the names of the files, without suffix.
        names: the name of each index.
        ignored: names that are no labels.
        title: the set's name; empty for that of the folder above ``images``.

    Raises:
        UsageError: there are no stems.
        DataError: while it is read, a file is missing or a mask does not fit.
    """
    if not stems:
        raise UsageError(f"wanted names of pictures in {images}, got none")

    def read() -> Iterator[Sample]:
        for stem in stems:
            labels = load_labels(masks / f"{stem}.png")
            found = next((f for f in (images / f"{stem}{s}" for s in SUFFIXES) if f.is_file()), None)
            if found is None:
                raise DataError(f"wanted the picture of {stem}, {images / stem}{SUFFIXES[0]} does not exist")
            yield from_labels(stem, load_image(found), labels, names, ignored)

    used = tuple(name for name in names if name not in ignored)
    return SampleSet(title or images.parent.name, used, len(stems), read)


def read_voc(
    root: Path, names: Sequence[str], split: str = "val", ignored: Sequence[str] = ("background",)
) -> SampleSet:
    """Read a folder such as VOCdevkit/VOC2012: JPEGImages, SegmentationClass, ImageSets/Segmentation.

    Raises:
        UsageError: the list of the split is missing or empty.
    """
    stems = read_lines(root / "ImageSets" / "Segmentation" / f"{split}.txt")
    return read_folder(root / "JPEGImages", root / "SegmentationClass", stems, names, ignored, root.name)


def read_photos(root: Path, split: str = "val", ignored: Sequence[str] = ("background",)) -> SampleSet:
    """Read a folder with images/, masks/, classes.txt (line k, from 0, names index k) and SPLIT.txt.

    Raises:
        UsageError: a list is missing or empty.
    """
    names = read_lines(root / "classes.txt")
    stems = read_lines(root / f"{split}.txt")
    return read_folder(root / "images", root / "masks", stems, names, ignored, f"{root.name} {split}")


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
        raise UsageError(f"wanted COCO's instances JSON, {instances} does not exist")
    try:
        content = json.loads(instances.read_bytes())
        names = {c["id"]: str(c["name"]) for c in content["categories"]}
        rows = sorted((r["id"], str(r["file_name"]), r["height"], r["width"]) for r in content["images"])
        annotations = defaultdict(list)
        for one in content["annotations"]:
            annotations[one["image_id"]].append(one)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"wanted COCO's instances JSON, {instances} cannot be read: {error!r}") from None

    def read() -> Iterator[Sample]:
        for number, file_name, height, width in rows:
            image = load_image(images / file_name)
            if image.shape[:2] != (height, width):
                raise DataError(
                    f"{file_name}: wanted {(height, width)} pixels, as annotated, got {image.shape[:2]}"
                )
            yield _coco_sample(file_name, image, annotations[number], names)

    return SampleSet(instances.stem, tuple(names.values()), len(rows), read)


def _coco_sample(
    file_name: str, image: NDArray[np.uint8], annotations: list[dict[str, object]], names: dict[object, str]
) -> Sample:
    masks: dict[str, NDArray[np.bool_]] = {}
    valid = np.ones(image.shape[:2], bool)
    for one in annotations:
        try:
            mask, name = _coco_mask(one["segmentation"], image.shape[:2]), names[one["category_id"]]
        except Exception as error:  # pycocotools raises anything on a damaged annotation
            raise DataError(f"{file_name}: an annotation cannot be read: {error!r}") from None
        if one.get("iscrowd"):
            valid &= ~mask
        else:
            masks[name] = masks[name] | mask if name in masks else mask
    return Sample(file_name, image, masks, valid)


def _coco_mask(segmentation: object, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W) of polygons, or of run lengths as a list or as text. Not by the COCO class, which prints."""
    from pycocotools import mask as tools

    if isinstance(segmentation, list):
        runs = tools.merge(tools.frPyObjects(segmentation, *size))
    elif isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        runs = tools.frPyObjects(segmentation, *size)
    else:
        runs = segmentation
    mask: NDArray[np.bool_] = tools.decode(runs).astype(bool)
    if mask.shape != size:
        raise ValueError(f"a mask of {mask.shape} pixels")
    return mask


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file that are not empty, without spaces at their ends.

    Raises:
        UsageError: the file is missing or is no UTF-8 text.
    """
    if not path.is_file():
        raise UsageError(f"wanted a list, {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"wanted a list as UTF-8 text, {path} cannot be read: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
