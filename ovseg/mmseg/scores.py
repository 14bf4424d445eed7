"""mIoU as a metric of MMSegmentation: whole numbers, exact at any size of data set, and predictions as files.

mmseg's IoUMetric sums pixels in float32, which is exact only up to 16 million; Cityscapes has a billion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from numpy.typing import NDArray
from torch import Tensor

from ovseg.errors import DataError, UsageError
from ovseg.files.write import make_folder, write_labels, write_picture
from ovseg.metrics import check_labels, confusion
from ovseg.mmseg.outputs import OutputNames
from ovseg.options.checks import check_integer
from ovseg.results import void_value


@METRICS.register_module()
class ExactIoUMetric(IoUMetric):
    """IoUMetric with whole numbers: the same arguments and the same table of scores.

    After ``evaluate`` the unrounded scores of every class are in ``per_class``, in percent; NaN for a class
    that occurs neither in the labels nor in the predictions.

    Args:
        output_dir: folder for the predictions, one PNG an image: 8 bits, or 16 bits beyond 255 classes. With
            ``reduce_zero_label`` the files count classes from 1 and hold 0 for void, as the data set's own
            do.
        image_root: the folder of the images; sub-folders below it are kept below ``output_dir``. None: file
            names alone, which then have to differ.
        ignore_index: the label of pixels that do not count; None for ``void_value`` of the number of classes.
        iou_metrics: some of "mIoU", "mDice" and "mFscore".
        nan_to_num: the score of classes that do not occur; None leaves them out of the means.
        beta: the weight of recall in mFscore.
        collect_device: "cpu" or "gpu", over which several processes collect their counts.
        format_only: files and no score, for images without labels.
        prefix: put before the names of the scores, to tell several metrics apart.

    Raises DataError for a label of another size than its prediction or with a value that is neither a class
    nor void, with the file's name; UsageError where ``ignore_index`` is one of the classes.
    """

    per_class: dict[str, list[float]]

    def __init__(
        self,
        output_dir: str | None = None,
        image_root: str | None = None,
        ignore_index: int | None = None,
        iou_metrics: str | Sequence[str] = ("mIoU",),
        nan_to_num: float | None = None,
        beta: float = 1,
        collect_device: str = "cpu",
        format_only: bool = False,
        prefix: str | None = None,
    ) -> None:
        super().__init__(
            ignore_index=ignore_index,
            iou_metrics=iou_metrics,
            nan_to_num=nan_to_num,
            beta=beta,
            collect_device=collect_device,
            format_only=format_only,
            prefix=prefix,
        )
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
                _write(target, to_stored(labels, classes, sample.get("reduce_zero_label", False)))

    @staticmethod
    def _areas(
        labels: NDArray[np.integer], truth: NDArray[np.integer], classes: int, void: int
    ) -> tuple[Tensor, ...]:
        """Pixels of each class in both, in either, in the prediction and in the label: (K,) float64 each.

        Whole numbers below 2^53 are exact in float64.
        """
        matrix = confusion(labels, truth, classes, void)
        square = matrix[:, :classes]
        both, predicted, true = np.diag(square), square.sum(axis=0), matrix.sum(axis=1)
        counts = (both, predicted + true - both, predicted, true)
        return tuple(torch.from_numpy(part.astype(np.float64)) for part in counts)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """mmseg's table and summary from the areas of all images, and ``per_class``."""
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
    """The label of pixels that do not count. Raises UsageError where it is one of the classes."""
    void = void_value(classes) if ignore_index is None else ignore_index
    check_integer("ignore_index", void, -(2**31), 2**31)
    if 0 <= void < classes:
        raise UsageError(f"expected ignore_index outside the {classes} classes, got {void}")
    return void


def to_array(labels: Tensor | NDArray[np.integer]) -> NDArray[np.integer]:
    """Labels (1, H, W) or (H, W) of a sample as a NumPy array (H, W), whichever device they are on."""
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    return values[0] if values.ndim == 3 and values.shape[0] == 1 else values


def to_stored(
    labels: NDArray[np.integer], classes: int, reduce_zero_label: bool
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Predicted classes (H, W) as the data set's label files hold them.

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


def _write(path: Path, stored: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """A grey PNG without a palette, which another reader might turn into colours."""
    if stored.dtype == np.uint8:
        write_picture(path, stored.astype(np.uint8))
    else:
        write_labels(path, stored, np.zeros((0, 3), np.uint8))
