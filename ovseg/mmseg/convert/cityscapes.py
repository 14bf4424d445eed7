"""Cityscapes' labelTrainIds from its labelIds: no polygons are drawn anew."""

from __future__ import annotations

from pathlib import Path

from ovseg.errors import UsageError
from ovseg.mmseg.cityscapes import LABEL_IDS, TRAIN_IDS, to_train_ids
from ovseg.mmseg.convert.write import Converted, read_labels, write_all


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
