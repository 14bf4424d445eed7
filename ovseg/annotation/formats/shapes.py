"""What annotation files say in numbers, as masks: the one place that checks and clips corners.

Corners are clipped to the picture and outlines are measured before anything is drawn, because the time and
memory of the functions that draw grow with the length of an outline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ovseg.errors import DataError, described
from ovseg.results.coco import Mask

Size = tuple[int, int]
"""(height, width) in pixels."""
MARGIN = 2
"""Pixels around the picture in which corners are left as they are, so that no outline runs along its border."""
FARTHEST = 1e9
"""Corners beyond are moved here before they are clipped, so that no product of theirs overflows."""
LONGEST = 2_000_000
"""The longest outline of one object in pixels; pycocotools takes about 100 bytes for each."""


def polygon_mask(size: Size, polygons: Sequence[Sequence[float]]) -> Mask:
    """Polygons x, y, x, y … along pixel edges as one mask, as pycocotools fills them. Raises DataError."""
    from pycocotools import mask as rle

    parts = [corners(size, polygon) for polygon in polygons]
    check_length(parts)
    lists = [part.reshape(-1).tolist() for part in parts if len(part) >= 3]  # two would be read as a box
    if not lists:
        return Mask.of_runs(size, [size[0] * size[1]])
    return Mask(size, rle.merge(rle.frPyObjects(lists, *size))["counts"].decode())


def drawn_mask(size: Size, xy: Sequence[Sequence[float]]) -> Mask:
    """A polygon of points (x, y) at pixel centres, outline included, as LabelMe draws it. Raises DataError."""

    def draw(points: NDArray[np.float64], shape: Size) -> NDArray[np.bool_]:
        image = Image.new("L", shape[::-1])
        listed = [(x, y) for x, y in points.tolist()]
        ImageDraw.Draw(image).polygon(listed if len(listed) > 1 else listed * 2, outline=1, fill=1)
        return np.asarray(image) > 0

    return _drawn(size, [side for point in xy for side in point], draw)


def filled_mask(size: Size, sides: Sequence[float]) -> Mask:
    """A polygon x, y, x, y …, cut to whole pixels and filled as Ultralytics does. Raises DataError."""

    def draw(points: NDArray[np.float64], shape: Size) -> NDArray[np.bool_]:
        filled = np.zeros(shape, np.uint8)
        cv2.fillPoly(filled, [points.astype(np.int32)], (1,))
        return filled > 0

    return _drawn(size, sides, draw)


def box_mask(size: Size, box: Sequence[float], degrees: float = 0, pivot: Sequence[float] = (0, 0)) -> Mask:
    """The pixels whose centres are in a box.

    Args:
        size: of the picture.
        box: x0, y0, x1, y1 at pixel edges.
        degrees: how far the box is turned clockwise.
        pivot: the point (x, y) around which it is turned.

    Raises:
        DataError: they are no such numbers.

    >>> box_mask((4, 4), (0, 0, 2, 1), 90, (2, 2)).box
    (3, 0, 4, 2)
    """
    if len(box) != 4:
        raise DataError(f"expected a box x0, y0, x1, y1, got {described(list(box))}")
    x0, y0, x1, y1 = box
    if degrees % 360:
        return polygon_mask(size, [_turned([x0, y0, x1, y0, x1, y1, x0, y1], degrees, pivot)])
    points = corners(size, [x0, y0, x1, y0, x1, y1, x0, y1])
    if not len(points):
        return Mask.of_runs(size, [size[0] * size[1]])
    low = np.maximum(np.ceil(points.min(axis=0) - 0.5), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) - 0.5), size[::-1]).astype(int)
    across, down = np.maximum(high - low, 0).tolist()
    return Mask.of_crop(np.ones((down, across), bool), (int(low[0]), int(low[1])), size)


def ellipse_mask(size: Size, centre: Sequence[float], radii: Sequence[float], degrees: float = 0) -> Mask:
    """The pixels whose centres are in an ellipse.

    Args:
        size: of the picture.
        centre: (x, y) at pixel edges.
        radii: along x and y.
        degrees: how far it is turned clockwise around its centre.

    Raises:
        DataError: they are no such numbers.

    >>> ellipse_mask((3, 5), (2.5, 1.5), (2.5, 0.6)).box
    (0, 1, 5, 2)
    """
    (x, y), (across, down) = centre, radii
    reach = max(abs(across), abs(down))
    bounds = corners(
        size, [x - reach, y - reach, x + reach, y - reach, x + reach, y + reach, x - reach, y + reach]
    )
    (left, top), shape = _around(size, bounds)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    right, below = columns + (left + 0.5 - x), rows + (top + 0.5 - y)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    with np.errstate(divide="ignore", invalid="ignore"):  # an ellipse without width has no pixels
        along = (right * cosine + below * sine) / across
        beside = (below * cosine - right * sine) / down
    return Mask.of_crop(along**2 + beside**2 <= 1, (left, top), size)


def corners(size: Size, sides: Sequence[float]) -> NDArray[np.float64]:
    """Corners x, y, x, y … as (P, 2), their polygon clipped to the picture and a small margin.

    What is inside the picture stays as it is, also of polygons that cross themselves: clipping moves sides
    outside only.

    Raises:
        DataError: they are no pairs of finite numbers.
    """
    values = np.array(sides, np.float64).reshape(-1)
    if not values.size or values.size % 2 or not np.isfinite(values).all():
        raise DataError(f"expected corners x, y as numbers, got {described(values.tolist()[:8])}")
    points = values.reshape(-1, 2).clip(-FARTHEST, FARTHEST)
    for axis, side in enumerate(size[::-1]):
        points = _cut(points, axis, -MARGIN, 1)
        points = _cut(points, axis, side + MARGIN, -1)
    return points


def check_length(parts: Sequence[NDArray[np.float64]]) -> None:
    """Raise DataError where outlines (P, 2) are so long together that filling them would take the memory."""
    sides = (np.abs(part - np.roll(part, 1, axis=0)).max(axis=1).sum() for part in parts if len(part))
    if (length := sum(sides)) > LONGEST:
        raise DataError(f"expected an outline of at most {LONGEST:,} pixels, got {length:,.0f}")


def _cut(points: NDArray[np.float64], axis: int, bound: float, sign: int) -> NDArray[np.float64]:
    """The part of a polygon (P, 2) on one side of a line, by the algorithm of Sutherland and Hodgman."""
    inside = sign * (points[:, axis] - bound) >= 0
    if inside.all():
        return points
    after = np.roll(points, -1, axis=0)
    crosses = inside != np.roll(inside, -1)
    with np.errstate(divide="ignore", invalid="ignore"):  # sides that do not cross are not taken
        share = (bound - points[:, axis]) / (after[:, axis] - points[:, axis])
        met = points + share[:, None] * (after - points)
    met[:, axis] = bound
    return np.stack([points, met], axis=1)[np.stack([inside, crosses], axis=1)]


def _drawn(
    size: Size, sides: Sequence[float], draw: Callable[[NDArray[np.float64], Size], NDArray[np.bool_]]
) -> Mask:
    """A polygon drawn into the part of the picture around it."""
    points = corners(size, sides)
    check_length([points])
    corner, shape = _around(size, points)
    if not min(shape):
        return Mask.of_runs(size, [size[0] * size[1]])
    return Mask.of_crop(draw(points - corner, shape), corner, size)


def _around(size: Size, points: NDArray[np.float64]) -> tuple[tuple[int, int], Size]:
    """The upper left pixel (x, y), and (height, width), of the part of a picture around some points."""
    if not len(points):
        return (0, 0), (0, 0)
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, size[::-1])
    across, down = np.maximum(high - low, 0).tolist()
    return (int(low[0]), int(low[1])), (down, across)


def _turned(sides: Sequence[float], degrees: float, pivot: Sequence[float]) -> list[float]:
    """Corners turned clockwise around a point."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    away = np.array(sides, np.float64).reshape(-1, 2) - pivot
    return (away @ np.array([[cosine, sine], [-sine, cosine]]) + pivot).reshape(-1).tolist()
