"""Pictures with a mask for each label that is in them, from folders of index masks and from COCO instances.

One form for what is measured per label (mSC, IoU per label, interactive segmentation): ``Sample``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovseg.errors import UsageError
from ovseg.io.images import load_image
from ovseg.metrics import VOID


@dataclass(frozen=True)
class Sample:
    """``image`` (H, W, 3) uint8 RGB, ``masks`` (H, W) bool of each label in it, ``valid`` (H, W) bool:
    the pixels that count."""

    name: str
    image: np.ndarray
    masks: dict[str, np.ndarray]
    valid: np.ndarray


@dataclass(frozen=True)
class SampleSet:
    """A named set: its label ``names``, its length, and an iterator that reads it anew each time."""

    title: str
    names: tuple[str, ...]
    count: int
    read: Callable[[], Iterator[Sample]]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        return self.read()


def from_labels(
    name: str, image: np.ndarray, labels: np.ndarray, names: Sequence[str], ignored: Sequence[str] = ()
) -> Sample:
    """From an index mask (H, W), VOID unlabelled: index k is ``names[k]``; ``ignored`` are no labels.

    Raises UsageError for an index beyond the names, or a mask of another size than the image.
    """
    if labels.shape != image.shape[:2]:
        raise UsageError(f"{name}: wanted a mask of {image.shape[:2]} pixels, got {labels.shape}")
    known = [int(k) for k in np.unique(labels) if k != VOID]
    if known and known[-1] >= len(names):
        raise UsageError(f"{name}: wanted labels below {len(names)} or {VOID}, got {known[-1]}")
    masks = {names[k]: labels == k for k in known if names[k] not in ignored}
    return Sample(name, image, masks, labels != VOID)


def read_folder(
    images: Path,
    masks: Path,
    stems: Sequence[str],
    names: Sequence[str],
    ignored: Sequence[str] = (),
    title: str = "",
) -> SampleSet:
    """VOC's form: ``images``/STEM.jpg with ``masks``/STEM.png of indices (grey or palette).

    Raises UsageError where there are no stems, a file is missing, or a mask does not fit.
    """
    if not stems:
        raise UsageError(f"wanted names of pictures in {images}, got none")

    def read() -> Iterator[Sample]:
        for stem in stems:
            path = masks / f"{stem}.png"
            if not path.is_file():
                raise UsageError(f"wanted a mask for {stem}, {path} does not exist")
            with Image.open(path) as picture:  # Pillow keeps the indices of a palette
                labels = np.asarray(picture)
            yield from_labels(stem, load_image(images / f"{stem}.jpg"), labels, names, ignored)

    used = tuple(name for name in names if name not in ignored)
    return SampleSet(title or images.parent.name, used, len(stems), read)


def read_voc(
    root: Path, names: Sequence[str], split: str = "val", ignored: Sequence[str] = ("background",)
) -> SampleSet:
    """A VOC folder such as VOCdevkit/VOC2012: JPEGImages, SegmentationClass, ImageSets/Segmentation."""
    stems = read_lines(root / "ImageSets" / "Segmentation" / f"{split}.txt")
    return read_folder(root / "JPEGImages", root / "SegmentationClass", stems, names, ignored, root.name)


def read_photos(root: Path, split: str = "val", ignored: Sequence[str] = ("background",)) -> SampleSet:
    """A folder with images/, masks/, classes.txt (line k is index k) and val.txt."""
    names = read_lines(root / "classes.txt")
    stems = read_lines(root / f"{split}.txt")
    return read_folder(root / "images", root / "masks", stems, names, ignored, f"{root.name} {split}")


def read_coco(instances: Path, images: Path) -> SampleSet:
    """COCO's instances JSON: the union of a category's instances is its mask; crowds count as void.

    Raises UsageError where the file is missing or is none of COCO's.
    """
    from pycocotools.coco import COCO

    if not instances.is_file():
        raise UsageError(f"wanted COCO's instances JSON, {instances} does not exist")
    try:
        coco = _quietly(lambda: COCO(str(instances)))
        names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
        rows = sorted(coco.dataset["images"], key=lambda row: row["id"])
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UsageError(f"wanted COCO's instances JSON, {instances} cannot be read: {error}") from None

    def read() -> Iterator[Sample]:
        for row in rows:
            image = load_image(images / row["file_name"])
            if image.shape[:2] != (size := (row["height"], row["width"])):
                raise UsageError(
                    f"{row['file_name']}: wanted {size} pixels, as annotated, got {image.shape[:2]}"
                )
            masks: dict[str, np.ndarray] = {}
            valid = np.ones(image.shape[:2], bool)
            for one in coco.imgToAnns[row["id"]]:
                mask = coco.annToMask(one).astype(bool)
                if one.get("iscrowd"):
                    valid &= ~mask
                    continue
                name = names[one["category_id"]]
                masks[name] = masks[name] | mask if name in masks else mask
            yield Sample(row["file_name"], image, masks, valid)

    return SampleSet(instances.stem, tuple(names.values()), len(rows), read)


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file. Raises UsageError where it is missing."""
    if not path.is_file():
        raise UsageError(f"wanted a list, {path} does not exist")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _quietly(work: Callable[[], Any]) -> Any:
    """pycocotools prints what it does."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        return work()
