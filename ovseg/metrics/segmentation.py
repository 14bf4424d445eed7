"""Scores of label maps, of masks and of points against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, UsageError
from ovseg.results import void_value

VOID = 255
"""The label of pixels that do not count, in a set of at most 255 classes: see ``void_value``."""


def check_labels(
    labels: NDArray[np.integer],
    classes: int,
    void: int | None = None,
    shape: Sequence[int] | None = None,
    name: str = "a label",
) -> None:
    """Check that a label map holds classes or void alone, and has the size of its image.

    Args:
        labels: (H, W) class indices.
        classes: the number of classes K; valid indices are 0 to K - 1.
        void: the label of pixels that do not count; None for ``void_value(classes)``.
        shape: the image's (height, width); None where it is not known.
        name: the label's file, for the message.

    Raises:
        DataError: a value is neither a class nor void, or the size is another one.

    >>> check_labels(np.array([[0, 1, 255]]), classes=2)
    >>> check_labels(np.array([[0, 1027]]), classes=4, name="a.png")
    Traceback (most recent call last):
    ...
    ovseg.errors.DataError: expected labels below 4 or 255, a.png holds 1027
    """
    void = void_value(classes) if void is None else void
    if shape is not None and labels.shape != tuple(shape):
        raise DataError(
            f"expected labels (height, width) {tuple(shape)} as the image, {name} has {labels.shape}"
        )
    outside = ((labels >= classes) | (labels < 0)) & (labels != void)
    if outside.any():
        shown = ", ".join(map(str, np.unique(labels[outside])[:5]))
        raise DataError(f"expected labels below {classes} or {void}, {name} holds {shown}")


def confusion(
    labels: NDArray[np.integer], truth: NDArray[np.integer], classes: int, void: int | None = None
) -> NDArray[np.int64]:
    """Count the pixels of each pair of true and predicted class.

    Pixels whose true label is ``void`` are not counted. A predicted label that is no class (void, or any
    other number outside 0 to K - 1) is counted in the last column: the pixel lowers the true class's recall
    and belongs to no predicted class.

    Args:
        labels: predicted class indices of any shape.
        truth: true class indices of the same shape.
        classes: the number of classes K.
        void: the label of pixels that do not count; None for ``void_value(classes)``.

    Returns:
        (K, K + 1) int64. Row t, column p: pixels of true class t that were predicted as class p; column K:
        those whose prediction is no class.

    Raises:
        UsageError: the two shapes differ, or ``void`` is one of the classes.
        DataError: a true label is neither a class nor void.

    >>> confusion(np.array([0, 1, 1, 255]), np.array([0, 0, 255, 1]), classes=2)
    array([[1, 1, 0],
           [0, 0, 1]])
    """
    void = void_value(classes) if void is None else void
    if 0 <= void < classes:
        raise UsageError(f"expected void outside the {classes} classes, got {void}")
    if labels.shape != truth.shape:
        raise UsageError(f"expected labels and truth of one shape, got {labels.shape} and {truth.shape}")
    check_labels(truth, classes, void, name="the truth")
    counted = truth != void
    true, predicted = truth[counted].astype(np.int64), labels[counted].astype(np.int64)
    predicted[(predicted < 0) | (predicted >= classes)] = classes
    pairs = np.bincount(true * (classes + 1) + predicted, minlength=classes * (classes + 1))
    return pairs.reshape(classes, classes + 1).astype(np.int64)


def iou_per_class(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of each class.

    Args:
        matrix: (K, K + 1) of ``confusion``, or a sum of several.

    Returns:
        (K,) in 0..1; NaN for a class that occurs neither in the truth nor in the prediction.

    >>> iou_per_class(np.array([[3, 1, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]])).tolist()
    [0.75, 0.8, nan]
    """
    square = matrix[:, : len(matrix)]
    both = np.diag(square).astype(np.float64)
    either = matrix.sum(axis=1) + square.sum(axis=0) - both
    return np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)


def mean_iou(matrix: NDArray[np.int64]) -> float:
    """The mean of ``iou_per_class`` over the classes that occur in truth or prediction; NaN where none does.

    >>> mean_iou(np.array([[3, 1, 0], [0, 0, 0]]))
    0.375
    >>> mean_iou(np.zeros((2, 3), np.int64))
    nan
    """
    scores = iou_per_class(matrix)
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else float("nan")


@dataclass
class SegmentationScore:
    """Mean IoU over a data set: the pixels of all images are counted in one confusion matrix.

    Attributes:
        classes: the number of classes K.
        void: the label of pixels that do not count; None for ``void_value(classes)``.
        matrix: (K, K + 1) int64, the sum of ``confusion`` of every image so far.

    >>> score = SegmentationScore(classes=2)
    >>> score.update(np.array([[0, 1]]), np.array([[0, 0]]))
    >>> score.compute()
    0.25
    """

    classes: int
    void: int | None = None
    matrix: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.classes, self.classes + 1), np.int64)

    def update(self, labels: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Add one image: predicted and true labels of one shape. Raises UsageError, DataError."""
        self.matrix += confusion(labels, truth, self.classes, self.void)

    def merge(self, other: SegmentationScore) -> None:
        """Add the images that ``other`` has counted. Raises UsageError for another number of classes."""
        if other.classes != self.classes:
            raise UsageError(f"expected a score of {self.classes} classes, got one of {other.classes}")
        self.matrix += other.matrix

    def compute(self) -> float:
        """Mean IoU in 0..1 over the classes that occur in truth or prediction; NaN before any pixel."""
        return mean_iou(self.matrix)


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
        raise UsageError(f"expected points within {width} x {height} pixels, got ({x[first]}, {y[first]})")
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


def pointing_game(
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    valid: NDArray[np.bool_] | None = None,
    tolerance: float = 0.0,
) -> float:
    """Whether the highest place of a map lies on the object (Zhang et al., ECCV 2016: the pointing game).

    Args:
        values: (H, W), the map.
        mask: (H, W), True on the object.
        valid: (H, W), True for the pixels that count; None for all.
        tolerance: a place within this distance in pixels of the object is a hit; the original takes 15.

    Returns:
        1 for a hit and 0 for a miss. Where several places are the highest, the share of them that hit: what a
        random choice among them would score, so a constant map scores what chance does. NaN where the object
        has no valid pixel.

    >>> pointing_game(np.array([[0.1, 0.9, 0.9]]), np.array([[False, False, True]]))
    0.5
    """
    valid = np.ones(mask.shape, bool) if valid is None else valid
    if not (mask & valid).any():
        return float("nan")
    hit = mask
    if tolerance > 0:
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        hit = distance <= tolerance
    highest = valid & (values == values[valid].max())
    return float(hit[highest].mean())
