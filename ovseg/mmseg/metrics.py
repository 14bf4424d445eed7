"""mIoU as a metric of MMSegmentation, Cityscapes' own score, and a count of the scored images.

mmseg's IoUMetric sums pixels in float32, which is exact only up to 16 million pixels; Cityscapes has a billion.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as pixel_level
from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from numpy.typing import NDArray
from torch import Tensor

from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.cityscapes import CLASS_IDS, LABEL_IDS, TRAIN_IDS
from ovseg.files.write import make_folder, write_labels, write_picture
from ovseg.metrics import check_labels, confusion
from ovseg.mmseg.outputs import OutputNames, to_array
from ovseg.options.checks import check_integer
from ovseg.options.fields import check_known
from ovseg.results import void_value

OPTIONS = ("iou_metrics", "nan_to_num", "beta", "collect_device", "format_only", "prefix")
"""Fields of mmseg's IoUMetric, which ignores any other."""
Pair = tuple[str, str]  # files of one image: prediction, ground truth, both labelIds


@METRICS.register_module()
class ExactIoUMetric(IoUMetric):
    """IoUMetric with exact counts: the same arguments and the same table of scores.

    After ``evaluate`` the unrounded scores of every class are in ``per_class``, in percent; NaN for a class
    that occurs neither in the labels nor in the predictions.

    Args:
        output_dir: folder for the predictions, one PNG an image: 8 bits, or 16 bits beyond 255 classes. With
            ``reduce_zero_label`` classes are stored from 1 and void as 0, as in the data set's own files.
        image_root: the folder of the images, whose sub-folders are kept in ``output_dir``. None: file names
            only, which then have to differ.
        ignore_index: the label of ignored pixels; None for ``void_value`` of the number of classes.
        iou_metrics: some of "mIoU", "mDice" and "mFscore".
        nan_to_num: the score of absent classes; None leaves them out of the means.
        beta: the weight of recall in mFscore.
        collect_device: "cpu" or "gpu", where the counts of several processes are collected.
        format_only: write files without scoring, for images without labels.
        prefix: prefix of the scores' names, to tell several metrics apart.

    Raises DataError for a label of another size than its prediction or with a value that is neither a class
    nor void, with the file's name; UsageError where ``ignore_index`` is one of the classes.
    """

    per_class: dict[str, list[float]]
    default_prefix = ""  # mmengine warns about None

    def __init__(
        self,
        output_dir: str | None = None,
        image_root: str | None = None,
        ignore_index: int | None = None,
        **options: Any,
    ) -> None:
        check_known(options, OPTIONS, "field of the metric")
        super().__init__(ignore_index=ignore_index, **options)
        self.names = None if output_dir is None else OutputNames(make_folder(Path(output_dir)), image_root)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the pixels of a batch; the samples' tensors may be on any device."""
        classes = len(self.dataset_meta["classes"])
        void = check_void(self.ignore_index, classes)
        for sample in data_samples:
            labels = to_array(sample["pred_sem_seg"]["data"])
            if not self.format_only:
                truth = to_array(sample["gt_sem_seg"]["data"])
                name = str(sample.get("seg_map_path", "a label"))
                check_labels(truth, classes, void, labels.shape, name)
                self.results.append(self._areas(labels, truth, classes, void))
            if self.names is not None:
                target = self.names.path(sample["img_path"], ".png")
                make_folder(target.parent)
                stored = to_stored(labels, classes, sample.get("reduce_zero_label", False))
                if stored.dtype == np.uint8:  # grey: no palette that another reader might turn into colours
                    write_picture(target, stored.astype(np.uint8))
                else:
                    write_labels(target, stored, np.zeros((0, 3), np.uint8))

    @staticmethod
    def _areas(
        labels: NDArray[np.integer], truth: NDArray[np.integer], classes: int, void: int
    ) -> tuple[Tensor, ...]:
        """Intersection, union, predicted and true pixels of each class: (K,) float64 each.

        Whole numbers below 2^53 are exact in float64.
        """
        matrix = confusion(labels, truth, classes, void)
        square = matrix[:, :classes]
        both, predicted, true = np.diag(square), square.sum(axis=0), matrix.sum(axis=1)
        counts = (both, predicted + true - both, predicted, true)
        return tuple(torch.from_numpy(part.astype(np.float64)) for part in counts)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Sum the areas of all images, set ``per_class``, and return mmseg's summary."""
        if self.format_only:
            return {}
        if not results:
            raise DataError("expected at least one image to score, got none")
        both, either, predicted, true = (sum(parts) for parts in zip(*results))
        self.per_class = {
            "IoU": (100 * both / either).tolist(),
            "Acc": (100 * both / true).tolist(),
            "pixels": true.tolist(),
            "predicted": predicted.tolist(),
        }
        return dict(super().compute_metrics(results))


def check_void(ignore_index: int | None, classes: int) -> int:
    """The label of ignored pixels. Raises UsageError if it is one of the classes."""
    void = void_value(classes) if ignore_index is None else ignore_index
    check_integer("ignore_index", void, -(2**31), 2**31)
    if 0 <= void < classes:
        raise UsageError(f"expected ignore_index outside the {classes} classes, got {void}")
    return void


def to_stored(
    labels: NDArray[np.integer], classes: int, reduce_zero_label: bool
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Convert predicted classes (H, W) to the values of the data set's label files.

    >>> to_stored(np.array([[0, 149, 255]]), 150, reduce_zero_label=True).tolist()
    [[1, 150, 0]]
    >>> to_stored(np.array([[0, 256, 65535]]), 300, reduce_zero_label=False).dtype
    dtype('uint16')
    """
    values = np.asarray(labels, np.int64)
    if reduce_zero_label:
        values = np.where((values < 0) | (values >= classes), 0, values + 1)
    wide = void_value(classes + bool(reduce_zero_label)) > 255
    return values.astype(np.uint16) if wide else values.astype(np.uint8)


class ImageCount(BaseMetric):
    """Counts the images that reach the metrics in all processes, without padding duplicates.

    A data loader may drop images silently: the last batch, or all after a number of batches.

    Attributes:
        images: number of images; 0 before ``evaluate``.
    """

    images = 0
    default_prefix = ""

    def process(self, data_batch: object, data_samples: Sequence[dict[str, Any]]) -> None:
        self.results.extend(1 for _ in data_samples)

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        self.images = len(results)
        return {}


# ----------------------------------------------------------------------------------------- Cityscapes


@METRICS.register_module()
class CityscapesIoUMetric(ExactIoUMetric):
    """ExactIoUMetric that also writes labelIds and scores the files with cityscapesscripts.

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
    """Convert classes (H, W) 0 to 18 to labelIds; any other value becomes 0, because 255 is not a labelId.

    >>> to_label_ids(np.array([0, 18, 255])).tolist()
    [7, 33, 0]
    """
    table = np.zeros(len(CLASS_IDS) + 1, np.uint8)
    table[:-1] = CLASS_IDS
    return table[np.where((labels < 0) | (labels >= len(CLASS_IDS)), len(CLASS_IDS), labels)]


def score_files(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Score pairs of files (prediction, ground truth), both labelIds, with cityscapesscripts, by pixels.

    Its instance score is left out, because it calls a function that numpy removed.

    Returns:
        "classScores" by name, "averageScoreClasses", "averageScoreCategories" and more, in 0..1.

    Raises:
        DataError: a file is missing, or cityscapesscripts rejects it.
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
    except SystemExit:  # how it reports errors
        raise DataError(f"cityscapesscripts: {' '.join(said.getvalue().split())}") from None
