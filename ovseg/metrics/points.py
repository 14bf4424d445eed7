"""Scores of point prompts and masks, and the mean over samples and classes that the paper's tables take."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError


def point_accuracy(
    xy: NDArray[np.number],
    labels: NDArray[np.integer],
    mask: NDArray[np.bool_],
    valid: NDArray[np.bool_],
) -> float:
    """The share of point prompts on the right side of an object's border (the paper's Fig. 10).

    Args:
        xy: (P, 2) points (x, y) in pixels of the image; fractions are cut off.
        labels: (P,) 1 for points that should lie on the object, 0 for points that should not.
        mask: (H, W), True on the object.
        valid: (H, W), True for the pixels that count.

    Returns:
        In 0..1; NaN where no point lies on a pixel that counts.

    Raises:
        UsageError: a point lies outside the image.

    >>> mask = np.array([[True, False, False]])
    >>> point_accuracy(np.array([[0, 0], [1, 0]]), np.array([1, 1]), mask, np.ones_like(mask))
    0.5
    """
    x, y = np.asarray(xy).reshape(-1, 2).astype(np.int64).T
    height, width = mask.shape
    outside = (x < 0) | (y < 0) | (x >= width) | (y >= height)
    if outside.any():
        first = int(outside.argmax())
        raise UsageError(f"wanted points within {width} x {height} pixels, got ({x[first]}, {y[first]})")
    counted = valid[y, x]
    right = mask[y, x] == (np.asarray(labels) == 1)
    return float(right[counted].mean()) if counted.any() else float("nan")


def mask_iou(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], valid: NDArray[np.bool_] | None = None
) -> float:
    """Intersection over union of two masks.

    Args:
        mask: (H, W), the predicted mask.
        truth: (H, W), the true mask.
        valid: (H, W), True for the pixels that count; None for all.

    Returns:
        In 0..1; 0 where both masks are empty.

    >>> mask_iou(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    if valid is not None:
        mask, truth = mask & valid, truth & valid
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 0.0


@dataclass
class MeanPerClass:
    """A mean over the samples of each class and then over the classes: "per positive label" in the paper.

    Attributes:
        values: for each class its samples.

    >>> score = MeanPerClass()
    >>> for name, value in [("cat", 0.0), ("cat", 1.0), ("dog", 1.0)]:
    ...     score.update(name, value)
    >>> score.compute()
    0.75
    """

    values: dict[str, list[float]] = field(default_factory=dict)

    def update(self, name: str, value: float) -> None:
        """Add one sample; NaN stands for "not defined" and is left out."""
        if not np.isnan(value):
            self.values.setdefault(name, []).append(value)

    def merge(self, other: MeanPerClass) -> None:
        """Add the samples of ``other``."""
        for name, samples in other.values.items():
            self.values.setdefault(name, []).extend(samples)

    def compute(self) -> float:
        """The mean; NaN without any sample."""
        means = [float(np.mean(samples)) for samples in self.values.values()]
        return float(np.mean(means)) if means else float("nan")

    def mean(self) -> float:
        """The same as ``compute``."""
        return self.compute()
