"""Masks as the numbers that CVAT's shapes hold, and back."""

from __future__ import annotations

import numpy as np
from cvat_sdk.masks import decode_mask, encode_mask
from numpy.typing import NDArray

from ovseg.annotate.outlines import edge_polygons
from ovseg.annotate.readers.base import box_mask, polygon_mask
from ovseg.errors import DataError, described

SHAPES = ("mask", "polygon", "rectangle")
"""The types of shapes that a mask becomes."""


def mask_points(mask: NDArray[np.bool_]) -> list[float]:
    """The run lengths and the box of a mask (H, W) that has pixels.

    >>> mask_points(np.array([[False, True], [True, True]]))
    [1.0, 3.0, 0.0, 0.0, 1.0, 1.0]
    """
    return [float(number) for number in encode_mask(mask)]


def polygon_points(mask: NDArray[np.bool_]) -> list[list[float]]:
    """x, y, x, y … along the pixel edges of each part of a mask, the largest part first; holes are cut open.

    >>> polygon_points(np.array([[False, True]]))
    [[1.0, 0.0, 2.0, 0.0, 2.0, 1.0, 1.0, 1.0]]
    """
    parts = [np.array(part, np.float64) for part in edge_polygons(mask)]
    parts.sort(key=_area, reverse=True)
    return [part.reshape(-1).tolist() for part in parts]


def shape_points(kind: str, mask: NDArray[np.bool_]) -> list[float]:
    """A mask that has pixels as one shape of a type of ``SHAPES``; of several parts a polygon has the largest.

    >>> shape_points("rectangle", np.array([[False, True], [False, True]]))
    [1.0, 0.0, 2.0, 2.0]
    """
    if kind == "mask":
        return mask_points(mask)
    if kind == "polygon":
        return polygon_points(mask)[0]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def shape_mask(kind: str, points: list[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a shape, (H, W) bool.

    Args:
        kind: one of ``SHAPES``.
        points: as CVAT gives them.
        size: (height, width) of the image in pixels.

    Raises:
        DataError: they are no such shape of an image of this size, or without pixels.

    >>> shape_mask("rectangle", [1.0, 0.0, 2.0, 2.0], (2, 2)).tolist()
    [[False, True], [False, True]]
    """
    try:
        if kind == "mask":
            mask = decode_mask(points, image_width=size[1], image_height=size[0])
        elif kind == "polygon":
            mask = polygon_mask(size, [points]).array()
        else:
            mask = box_mask(size, points)
    except (ValueError, IndexError, TypeError):
        mask = np.zeros(size, bool)
    if not mask.any():
        raise DataError(f"wanted a {kind} inside {size[1]} x {size[0]} pixels, got {described(points[:8])}")
    return mask


def _area(ring: NDArray[np.float64]) -> float:
    """The area that a ring (P, 2) encloses, by the shoelace formula."""
    x, y = ring[:, 0], ring[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
