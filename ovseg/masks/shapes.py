"""Geometry of maps and masks: thresholds, bounds, expected IoU, specks and holes, connected objects."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.masks.prompts import Click
from ovseg.segmenters.prompts import Box

FEW = 9
"""Up to this many labels, counting each label's pixels is faster than a histogram."""


def inside(region: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """(h, w) bool, where a map reaches the threshold.

    Never empty: where the whole map is below the threshold, as after shrinking, its peak is the threshold.
    """
    return np.asarray(region >= min(threshold, float(region.max())))


def centred(region: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """A map in 0..1, rescaled so that the threshold becomes 0.5, as ``Segmenter.prior`` needs it."""
    below = 0.5 * region / max(threshold, 1e-6)
    above = 0.5 + 0.5 * (region - threshold) / max(1 - threshold, 1e-6)
    return np.where(region < threshold, below, above)


def bounds(region: NDArray[np.bool_], size: tuple[int, int]) -> Box:
    """The box around a region (h, w), in pixels of an image of ``size`` (height, width)."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    sy, sx = size[0] / region.shape[0], size[1] / region.shape[1]
    return (columns[0] * sx, rows[0] * sy, (columns[-1] + 1) * sx, (rows[-1] + 1) * sy)


def tidy(mask: NDArray[np.bool_], share: float, clicks: Sequence[Click] = ()) -> NDArray[np.bool_]:
    """Remove specks and fill holes smaller than ``share`` of the mask (H, W).

    The largest part is kept, and so are specks with a foreground click and holes with a background click.
    """
    if share <= 0 or not mask.any():
        return mask
    top, bottom, left, right = window = _window(mask)
    kept = part = mask[top:bottom, left:right]
    limit = share * np.count_nonzero(part)
    beyond = mask.size - part.size  # image pixels outside the window, all background
    for value in (True, False):  # specks, then holes
        now = part if value else ~part
        count, labels = _parts(now)
        outer = _outer(labels, window, mask.shape) if not value and beyond else labels[:0, 0]
        if (value and count == 2) or (beyond >= limit and len(outer) == count - 1):
            continue  # a single part; or no holes, because all background reaches beyond the window
        areas = _areas(now, count, labels)
        areas[outer] += beyond
        small = (areas < limit) & (np.arange(count) > 0)
        if value:
            small[int(areas.argmax())] = False
        for x, y, foreground in clicks:
            row, column = int(y) - top, int(x) - left
            if foreground == value and 0 <= row < bottom - top and 0 <= column < right - left:
                small[labels[row, column]] = False
        if small.any():
            part = np.where(small[labels], not value, part)
    if part is kept:
        return mask
    out = np.zeros_like(mask)
    out[top:bottom, left:right] = part
    return out


def _parts(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Label the 8-connected parts of a mask (h, w) from 1 on; also the number of labels, with 0 for the rest."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return count, np.asarray(labels, np.int32)


def _areas(mask: NDArray[np.bool_], count: int, labels: NDArray[np.int32]) -> NDArray[np.intp]:
    """The area of each label; 0 for label 0, the pixels outside the mask."""
    if count > FEW:
        areas = np.bincount(labels.ravel(), minlength=count)
        areas[0] = 0
        return areas
    several = (np.count_nonzero(labels == k) for k in range(1, count))
    return np.array([0, *(several if count > 2 else [np.count_nonzero(mask)] * (count - 1))], np.intp)


def _window(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """top, bottom, left, right of the mask's bounds, padded by one pixel inside the image."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        max(0, int(rows[0]) - 1),
        min(mask.shape[0], int(rows[-1]) + 2),
        max(0, int(columns[0]) - 1),
        min(mask.shape[1], int(columns[-1]) + 2),
    )


def _outer(
    labels: NDArray[np.int32], window: tuple[int, int, int, int], size: tuple[int, ...]
) -> NDArray[np.int32]:
    """The labels of components that continue beyond the window."""
    top, bottom, left, right = window
    edges = [
        labels[0] if top > 0 else labels[:0, 0],
        labels[-1] if bottom < size[0] else labels[:0, 0],
        labels[:, 0] if left > 0 else labels[:0, 0],
        labels[:, -1] if right < size[1] else labels[:0, 0],
    ]
    found = np.unique(np.concatenate(edges))
    return found[found > 0]


def expected_iou(mask: NDArray[np.bool_], region: NDArray[np.float32]) -> float:
    """The expected IoU of a mask (H, W) with a map (h, w) in 0..1: Σ mp / Σ (m + p - mp).

    p, the probability that a place belongs to the object, is the square of the map, because a map stretched
    to 0..1 is too high on average. Unlike the IoU at a threshold, it changes little with doubtful places.
    """
    size = (region.shape[1], region.shape[0])
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    chance = region**2
    both = float((covered * chance).sum())
    return both / max(float(covered.sum() + chance.sum()) - both, 1e-6)


def objects(mask: NDArray[np.bool_], points: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Split a mask (H, W) into its connected parts that contain a point (x, y), the largest first.

    Parts without a point are added to the largest, so that no pixel is lost.
    """
    on = [(int(y), int(x)) for x, y in points if mask[int(y), int(x)]]
    if len(on) < 2:
        return [mask]
    top, bottom, left, right = _window(mask)
    part = mask[top:bottom, left:right]
    count, labels = _parts(part)
    pointed = {int(labels[y - top, x - left]) for y, x in on}
    if len(pointed) < 2:
        return [mask]
    areas = _areas(part, count, labels)
    found = []
    for k in sorted(pointed, key=lambda k: (-areas[k], k)):
        found.append(np.zeros_like(mask))
        found[-1][top:bottom, left:right] = labels == k
    found[0] |= mask & ~np.any(found, axis=0)
    return found
