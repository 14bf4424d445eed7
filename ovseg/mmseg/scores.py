"""mIoU as an MMSegmentation metric: ovseg's own confusion matrix, exact at any size of data set.

mmseg's IoUMetric sums pixels in float32, which is exact only up to 16 million; Cityscapes has a billion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

from ovseg.errors import DataError
from ovseg.metrics import confusion


@METRICS.register_module()
class ExactIoUMetric(IoUMetric):
    """IoUMetric with whole numbers: the same arguments, table and PNG files (``output_dir``).

    After ``evaluate`` the unrounded scores of every class are in ``per_class``, in percent, NaN for a
    class in neither label nor prediction. Raises DataError for a label of another size than the
    prediction or with a value outside the classes, with the file's name.
    """

    per_class: dict[str, list[float]]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            if not self.format_only:
                check_labels(
                    sample["gt_sem_seg"]["data"],
                    sample["pred_sem_seg"]["data"].shape[-2:],
                    classes,
                    self.ignore_index,
                    sample.get("seg_map_path", "a label"),
                )
        super().process(data_batch, data_samples)

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels of each class in both, in either, in the prediction and in the label: (K,) float64 each."""
        matrix = confusion(pred_label.cpu().numpy(), label.cpu().numpy(), num_classes, ignore_index)
        square = matrix[:, :num_classes]
        both, predicted, true = np.diag(square), square.sum(axis=0), matrix.sum(axis=1)
        # Whole numbers below 2^53 are exact in float64.
        counts = (both, predicted + true - both, predicted, true)
        return tuple(torch.from_numpy(part.astype(np.float64)) for part in counts)  # type: ignore[return-value]

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        if not self.format_only:
            both, either, predicted, true = (sum(parts) for parts in zip(*results))
            self.per_class = {
                "IoU": (100 * both / either).tolist(),
                "Acc": (100 * both / true).tolist(),
                "pixels": true.tolist(),
                "predicted": predicted.tolist(),
            }
        return super().compute_metrics(results)


def check_labels(
    labels: Any, shape: Sequence[int], classes: int, ignore: int = 255, name: str = "a label"
) -> None:
    """Raise DataError unless ``labels`` (H, W) have ``shape`` and values below ``classes`` or ``ignore``."""
    values = np.asarray(labels).squeeze()
    if values.shape != tuple(shape):
        raise DataError(
            f"wanted labels (height, width) {tuple(shape)} as the image, {name} has {values.shape}"
        )
    outside = ((values >= classes) | (values < 0)) & (values != ignore)
    if outside.any():
        shown = ", ".join(map(str, np.unique(values[outside])[:5]))
        raise DataError(f"wanted labels below {classes} or {ignore}, {name} holds {shown}")
