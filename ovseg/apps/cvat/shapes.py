"""Masks to the points of CVAT's shapes, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cvat_sdk.masks import decode_mask, encode_mask
from numpy.typing import NDArray

from ovseg.annotation.formats.shapes import box_mask, outlines
from ovseg.errors import DataError, described
from ovseg.results.coco import Mask

KINDS = ("mask", "polygon", "rectangle")
"""The types of shapes that a mask can be converted to."""


def mask_points(mask: NDArray[np.bool_]) -> list[float]:
    """The run lengths and the box of a mask (H, W), which must not be empty.

    >>> mask_points(np.array([[False, True], [True, True]]))
    [1.0, 3.0, 0.0, 0.0, 1.0, 1.0]
    """
    return [float(number) for number in encode_mask(mask)]


def polygon_points(mask: NDArray[np.bool_]) -> list[list[float]]:
    """A polygon x, y, x, y … of few points along the pixel edges for each part of a mask, the largest first.

    >>> polygon_points(np.ones((9, 9), bool))
    [[0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0]]
    """
    return [[side for point in part for side in point] for part in outlines(mask, edges=True)]


def shape_points(kind: str, mask: NDArray[np.bool_]) -> list[float]:
    """A mask, which must not be empty, as one shape of a kind of ``KINDS``; a polygon is of its largest part.

    >>> shape_points("rectangle", np.array([[False, True], [False, True]]))
    [1.0, 0.0, 2.0, 2.0]
    """
    if kind == "mask":
        return mask_points(mask)
    if kind == "polygon":
        return polygon_points(mask)[0]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def shape_mask(kind: str, points: Sequence[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a shape, (H, W) bool.

    Args:
        kind: one of ``KINDS``.
        points: as CVAT gives them.
        size: (height, width) of the image in pixels.

    Raises:
        DataError: they are no such shape of an image of this size, or the shape has no pixels.

    >>> shape_mask("rectangle", [1, 0, 2, 2], (2, 2)).tolist()
    [[False, True], [False, True]]
    """
    try:
        if kind == "mask":
            _check_runs(points[:-4], size)
            mask = decode_mask(points, image_width=size[1], image_height=size[0])
        elif kind == "rectangle":
            mask = box_mask(size, points).array()
        elif len(points) >= 6:  # pycocotools takes no fewer
            mask = Mask.of_polygons(size, [points]).array()
        else:
            mask = np.zeros(size, bool)
    except (ValueError, TypeError, DataError):
        mask = np.zeros(size, bool)
    if not mask.any():
        raise DataError(
            f"expected a {kind} inside {size[1]} x {size[0]} pixels, got {described(list(points[:8]))}"
        )
    return mask


def _check_runs(runs: Sequence[float], size: tuple[int, int]) -> None:
    """Raise ValueError for run lengths that NumPy may not be given: it repeats them without adding them up."""
    if any(not 0 <= one <= size[0] * size[1] for one in runs) or sum(runs) > size[0] * size[1]:
        raise ValueError("expected run lengths of an image")
