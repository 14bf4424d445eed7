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
from mmseg.registry import METRICS
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.convert.cityscapes import CLASS_IDS, LABEL_IDS, TRAIN_IDS
from ovseg.files.write import make_folder, write_picture
from ovseg.mmseg.outputs import OutputNames
from ovseg.mmseg.scores import ExactIoUMetric, to_array

Pair = tuple[str, str]  # files of one image: prediction, ground truth, both labelIds


@METRICS.register_module()
class CityscapesIoUMetric(ExactIoUMetric):
    """ExactIoUMetric that also writes labelIds and gives cityscapesscripts' score of the files.

    ``cityscapes`` holds, after ``evaluate``, what cityscapesscripts returned.

    Args:
        output_dir: folder for one grey PNG an image, <city>_<sequence>_<frame>_leftImg8bit.png, with 0 where
            nothing was predicted. The names differ between cities, so there are no sub-folders, as the
            benchmark's server takes it.
        **options: those of ExactIoUMetric; ``format_only`` for images without labels: files and no score.

    Raises UsageError without ``output_dir``, DataError for a label that is missing or wrong.
    """

    cityscapes: dict[str, Any]

    def __init__(self, output_dir: str | None = None, **options: Any) -> None:
        if output_dir is None:
            raise UsageError("CityscapesIoUMetric needs a folder for its files: --out, or output_dir")
        super().__init__(output_dir=None, **options)  # the files of the class above hold other numbers
        self.files = OutputNames(make_folder(Path(output_dir)))

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        start = len(self.results)
        super().process(data_batch, data_samples)
        areas: Sequence[Any] = self.results[start:] if not self.format_only else [None] * len(data_samples)
        pairs = [self._write(sample) for sample in data_samples]
        self.results[start:] = list(zip(pairs, areas, strict=True))

    def _write(self, sample: dict[str, Any]) -> Pair:
        target = self.files.path(sample["img_path"], ".png")
        write_picture(target, to_label_ids(to_array(sample["pred_sem_seg"]["data"])))
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


def to_label_ids(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Classes (H, W) 0 to 18 as labelIds; any other value becomes 0, because 255 is no labelId.

    >>> to_label_ids(np.array([0, 18, 255])).tolist()
    [7, 33, 0]
    """
    table = np.zeros(len(CLASS_IDS) + 1, np.uint8)
    table[:-1] = CLASS_IDS
    return table[np.where((labels < 0) | (labels >= len(CLASS_IDS)), len(CLASS_IDS), labels)]


def score_files(pairs: Sequence[Pair]) -> dict[str, Any]:
    """cityscapesscripts' pixel-level result for pairs of files (prediction, ground truth), both labelIds.

    Its score per instance is left out, because it calls a function that numpy no longer has.

    Returns:
        "classScores" by name, "averageScoreClasses", "averageScoreCategories" and more, in 0..1.

    Raises:
        DataError: a file is missing or does not fit.
    """
    for pair in pairs:
        for path in pair:
            if not Path(path).is_file():
                raise DataError(f"expected labelIds for cityscapesscripts, {path} does not exist")
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
