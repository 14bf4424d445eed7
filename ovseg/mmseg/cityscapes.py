"""Cityscapes' own way: predictions as labelIds in one folder, scored by cityscapesscripts.

The same folder, of the test images, is what the benchmark's server takes.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as pixel_level
from cityscapesscripts.helpers.labels import trainId2label
from mmseg.registry import METRICS

from ovseg.data.convert.cityscapes import LABEL_IDS, TRAIN_IDS
from ovseg.errors import DataError, UsageError
from ovseg.io.writers import make_folder, write_picture
from ovseg.mmseg.scores import ExactIoUMetric

Pair = tuple[str, str]  # files of one image: prediction, ground truth, both labelIds


@METRICS.register_module()
class CityscapesIoUMetric(ExactIoUMetric):
    """ExactIoUMetric that also writes labelIds to ``output_dir`` and gives cityscapesscripts' score of them.

    One grey PNG an image, <city>_<sequence>_<frame>_leftImg8bit.png, 0 where nothing was predicted.
    ``format_only`` for images without labels: files and no score. ``cityscapes`` holds, after
    ``evaluate``, what cityscapesscripts returned. Raises UsageError without ``output_dir``, DataError.
    """

    cityscapes: dict[str, Any]

    def __init__(self, output_dir: str | None = None, **options: Any) -> None:
        if output_dir is None:
            raise UsageError("CityscapesIoUMetric wanted a folder for its files: --out, or output_dir")
        super().__init__(output_dir=None, **options)  # the files of the class above hold other numbers
        self.folder = make_folder(Path(output_dir))

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        start = len(self.results)
        super().process(data_batch, data_samples)
        areas: Sequence[Any] = self.results[start:] if not self.format_only else [None] * len(data_samples)
        pairs = [self._write(sample) for sample in data_samples]
        self.results[start:] = list(zip(pairs, areas, strict=True))

    def _write(self, sample: dict[str, Any]) -> Pair:
        target = self.folder / f"{Path(sample['img_path']).stem}.png"
        labels = sample["pred_sem_seg"]["data"].squeeze().cpu().numpy()
        write_picture(target, to_label_ids(labels))
        return str(target), str(sample.get("seg_map_path", "")).replace(TRAIN_IDS, LABEL_IDS)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        if self.format_only:
            return {}
        pairs, areas = zip(*results)
        ours = super().compute_metrics(list(areas))
        self.cityscapes = score_files(pairs)
        theirs = {
            "cityscapesscripts_mIoU": 100 * self.cityscapes["averageScoreClasses"],
            "cityscapesscripts_categories": 100 * self.cityscapes["averageScoreCategories"],
        }
        return {**ours, **theirs}


def to_label_ids(labels: np.ndarray) -> np.ndarray:
    """(H, W) classes 0 to 18 -> uint8 labelIds; what is none of them becomes 0, because 255 is no labelId."""
    table = np.zeros(256, np.uint8)
    for train_id in range(19):
        table[train_id] = trainId2label[train_id].id
    return table[np.minimum(labels, 255)]


def score_files(pairs: Sequence[Pair]) -> dict[str, Any]:
    """cityscapesscripts' pixel-level result: "classScores" by name, "averageScoreClasses", … in 0..1.

    Without its score per instance, which calls a function that numpy no longer has. Raises DataError.
    """
    for pair in pairs:
        for path in pair:
            if not Path(path).is_file():
                raise DataError(f"wanted labelIds for cityscapesscripts, {path} does not exist")
    settings = copy.copy(pixel_level.args)  # a global object of theirs
    settings.evalInstLevelScore = settings.evalPixelAccuracy = settings.JSONOutput = False
    settings.quiet = True
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            predictions, truths = zip(*pairs)
            return dict(pixel_level.evaluateImgLists(list(predictions), list(truths), settings))
    except SystemExit:  # its way of raising an error
        raise DataError(f"cityscapesscripts: {' '.join(said.getvalue().split())}") from None
