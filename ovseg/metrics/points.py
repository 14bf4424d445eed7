"""Scores of point prompts and of masks."""

from __future__ import annotations

import cv2
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
