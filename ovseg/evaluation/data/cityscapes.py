"""Cityscapes: its pictures with masks, and the conversion of labelIds to labelTrainIds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.convert import Converted, write_all
from ovseg.evaluation.data.samples import SampleSet, read_pairs
from ovseg.files.labels import load_labels
from ovseg.metrics import VOID
from ovseg.words.vocabulary import load_vocabulary

TRAIN_IDS, LABEL_IDS = "_labelTrainIds.png", "_labelIds.png"
CLASS_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The labelId of each of the 19 classes, in the order of the classes, as in cityscapesscripts."""
LARGEST_ID = 33


def read_cityscapes(root: Path, split: str = "val") -> SampleSet:
    """Read Cityscapes: leftImg8bit/SPLIT/CITY/*, gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png (19 classes).

    ``tools/convert_datasets.py`` makes the label maps. Raises UsageError where there are none.
    """
    ending = "_gtFine_labelTrainIds.png"
    folder = root / "gtFine" / split
    masks = sorted(folder.glob(f"*/*{ending}"))
    names = load_vocabulary("cityscapes").names
    stems = [f"{path.parent.name}/{path.name.removesuffix(ending)}" for path in masks]
    pictures = [root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png" for stem in stems]
    return read_pairs("Cityscapes", names, stems, pictures, masks, folder, f"CITY/*{ending}")


def convert_cityscapes(labels: Path) -> Converted:
    """Write *_gtFine_labelTrainIds.png beside each *_gtFine_labelIds.png.

    Args:
        labels: the folder gtFine, or one of its splits.

    Returns:
        How many files were written and how many were there already.

    Raises:
        UsageError: there are no labelIds.
        DataError: a file cannot be read or holds a value that is no labelId.
    """
    sources = sorted(labels.rglob(f"*_gtFine{LABEL_IDS}"))
    if not sources:
        raise UsageError(f"expected a folder with *_gtFine{LABEL_IDS}, {labels} has none")
    jobs = [
        (
            path.with_name(path.name.replace(LABEL_IDS, TRAIN_IDS)),
            lambda path=path: to_train_ids(load_labels(path), path),
        )
        for path in sources
    ]
    return write_all(jobs, "Cityscapes")


def to_train_ids(label_ids: NDArray[np.integer], source: object = "labels") -> NDArray[np.uint8]:
    """Map labelIds to classes.

    Args:
        label_ids: (H, W) labelIds 0 to 33.
        source: their file, for the error message.

    Returns:
        (H, W) classes 0 to 18; 255 marks pixels of no class.

    Raises:
        DataError: a value is no labelId.

    >>> to_train_ids(np.array([[7, 33, 0]])).tolist()
    [[0, 18, 255]]
    """
    if label_ids.size and (label_ids.max() > LARGEST_ID or label_ids.min() < 0):
        wrong = label_ids.max() if label_ids.max() > LARGEST_ID else label_ids.min()
        raise DataError(f"expected labelIds 0 to {LARGEST_ID}, {source} holds {wrong}")
    table = np.full(LARGEST_ID + 1, VOID, np.uint8)
    table[list(CLASS_IDS)] = np.arange(len(CLASS_IDS))
    return table[label_ids]
