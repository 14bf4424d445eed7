"""Cityscapes' labelTrainIds from its labelIds: no polygons are drawn anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import trainId2label

from ovseg.data.convert.write import Converted, read_labels, write_all
from ovseg.errors import DataError, UsageError

TRAIN_IDS, LABEL_IDS = "_labelTrainIds.png", "_labelIds.png"


def convert_cityscapes(labels: Path) -> Converted:
    """``labels``: gtFine of one split or of all; *_gtFine_labelTrainIds.png go beside *_gtFine_labelIds.png."""
    sources = sorted(labels.rglob(f"*_gtFine{LABEL_IDS}"))
    if not sources:
        raise UsageError(f"wanted a folder with *_gtFine{LABEL_IDS}, {labels} has none")
    jobs = [
        (
            path.with_name(path.name.replace(LABEL_IDS, TRAIN_IDS)),
            lambda path=path: to_train_ids(read_labels(path), path),
        )
        for path in sources
    ]
    return write_all(jobs, "Cityscapes")


def to_train_ids(label_ids: np.ndarray, source: object = "labels") -> np.ndarray:
    """(H, W) labelIds 0 to 33 -> uint8 classes 0 to 18, 255 for the others. Raises DataError."""
    if label_ids.size and label_ids.max() > 33:
        raise DataError(f"wanted labelIds 0 to 33, {source} holds {label_ids.max()}")
    table = np.full(34, 255, np.uint8)
    for train_id in range(19):
        table[trainId2label[train_id].id] = train_id
    return table[label_ids]
