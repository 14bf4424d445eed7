"""Shapes of annotation files as masks, each filled as its tool fills it, and masks as polygons, by each reader's rule.

pycocotools fills between pixel edges: a pixel (x, y) reaches from x to x + 1. ImageDraw, which LabelMe uses,
and OpenCV's fillPoly, which Ultralytics uses, also fill the pixels on the outline: they need the centres of
the outermost pixels. With the other convention a mask comes back with an IoU of 0.85 to 0.9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ovseg.errors import DataError, described
from ovseg.results.coco import Mask, Size, check_length, corners

NEAR = 0.75
"""Pixels by which an outline of few points may leave the mask."""
WIDEST = 100_000
"""Wider circles are not drawn by ImageDraw, in pixels."""


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
        return Mask.of_polygons(size, [_turned([x0, y0, x1, y0, x1, y1, x0, y1], degrees, pivot)])
    points = corners(size, [x0, y0, x1, y0, x1, y1, x0, y1])
    if not len(points):
        return Mask.of_runs(size, [size[0] * size[1]])
    low = np.maximum(np.ceil(points.min(axis=0) - 0.5), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) - 0.5), size[::-1]).astype(int)
    return Mask.of_box((int(low[0]), int(low[1]), int(high[0]), int(high[1])), size)


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
    (left, top), shape = _around(size, _square(size, x, y, max(abs(across), abs(down))))
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    right, below = columns + (left + 0.5 - x), rows + (top + 0.5 - y)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    with np.errstate(divide="ignore", invalid="ignore"):  # an ellipse without width has no pixels
        along = (right * cosine + below * sine) / across
        beside = (below * cosine - right * sine) / down
    return Mask.of_crop(along**2 + beside**2 <= 1, (left, top), size)


def circle_mask(size: Size, centre: Sequence[float], radius: float) -> Mask:
    """A circle around (x, y), outline included, as LabelMe draws it. Raises DataError."""
    x, y = centre
    if radius > WIDEST:  # ImageDraw's time grows with the radius
        return ellipse_mask(size, (x + 0.5, y + 0.5), (radius, radius))
    (left, top), shape = _around(size, _square(size, x, y, radius))
    if min(x, y) < radius:  # ImageDraw cuts positions to whole pixels, towards 0
        (left, top), shape = (0, 0), size
    image = Image.new("L", shape[::-1])
    box = [x - radius - left, y - radius - top, x + radius - left, y + radius - top]
    ImageDraw.Draw(image).ellipse(box, outline=1, fill=1)
    return Mask.of_crop(np.asarray(image) > 0, (left, top), size)


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


def _square(size: Size, x: float, y: float, reach: float) -> NDArray[np.float64]:
    """The corners of a square around a point, clipped as ``corners`` does. Raises DataError."""
    left, top, right, low = x - reach, y - reach, x + reach, y + reach
    return corners(size, [left, top, right, top, right, low, left, low])


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


Point = tuple[float, float]
"""x, y in pixels."""


def edge_polygons(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """The outlines of a mask along pixel edges, one closed polygon for each part, for pycocotools.

    A hole is joined to the outline around it by a line there and back, which cancels out where polygons are
    filled by the even-odd rule: the mask comes back exactly.

    Args:
        mask: (H, W) bool.

    Returns:
        Polygons without the first point repeated, the largest part first; none where there are no pixels.

    >>> edge_polygons(np.array([[False, True]]))
    [[(1, 0), (2, 0), (2, 1), (1, 1)]]
    """
    box, corner = _box(mask)
    doubled = box.repeat(2, axis=0).repeat(2, axis=1)  # now pixel x has the centres 2x and 2x + 1
    return _polygons([[_along_edges(ring) + corner for ring in part] for part in _parts(doubled)])


def centre_polygons(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """The outlines of a mask through the centres of its outermost pixels, one for each part.

    A whole number stands for the centre of a pixel. A hole is joined to its outline by the shortest line
    there and back.

    Args:
        mask: (H, W) bool.

    Returns:
        Polygons without the first point repeated, the largest part first; a part of one pixel is one point.

    >>> centre_polygons(np.array([[False, True, True]]))
    [[(1, 0), (2, 0)]]
    """
    box, corner = _box(mask)
    return _polygons([[ring + corner for ring in part] for part in _parts(box)])


def join_rings(rings: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Several rings (P, 2) as one, each joined by the shortest line between two of its and others' points."""
    joined, *rest = rings
    for ring in rest:
        step = max(1, len(joined) * len(ring) // 1_000_000)  # of very long rings, not every pair is compared
        near = joined[::step].astype(np.int64)
        distances = ((near[:, None] - ring[None].astype(np.int64)) ** 2).sum(axis=-1)
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        i *= step
        turned = np.concatenate([ring[j:], ring[: j + 1]])
        joined = np.concatenate([joined[: i + 1], turned, joined[i:]])
    return joined


def _box(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """The part of a mask that has pixels, and its corner (x, y): outlines cost as much as the object is large."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return mask[:0, :0], np.zeros(2, np.int32)
    top, left = rows[0], columns[0]
    return mask[top : rows[-1] + 1, left : columns[-1] + 1], np.array([left, top], np.int32)


def _parts(mask: NDArray[np.bool_]) -> list[list[NDArray[np.int32]]]:
    """The outline of each part through pixel centres, followed by those of its holes.

    Parts are connected by sides or corners.
    """
    if not mask.size:
        return []
    found, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [ring.reshape(-1, 2).astype(np.int32) for ring in found]
    parts: dict[int, list[NDArray[np.int32]]] = {
        index: [ring] for index, ring in enumerate(rings) if tree[0][index][3] < 0
    }
    for index, ring in enumerate(rings):
        if index not in parts:
            parts[int(tree[0][index][3])].append(ring)
    return list(parts.values())


def _along_edges(ring: NDArray[np.int32]) -> NDArray[np.int32]:
    """A ring through the centres of doubled pixels as the corners of the pixels themselves, clockwise."""
    corners = (ring + 1) // 2
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    return np.roll(corners[::-1], 1, axis=0)


def _polygons(parts: list[list[NDArray[np.int32]]]) -> list[list[Point]]:
    """One polygon for each part, the largest first."""
    areas = [cv2.contourArea(part[0].reshape(-1, 1, 2)) for part in parts]
    order = sorted(range(len(parts)), key=lambda k: (-areas[k], parts[k][0][0].tolist()))
    return [[(x, y) for x, y in join_rings(parts[k]).tolist()] for k in order]


def outlines(
    mask: NDArray[np.bool_], *, edges: bool = False, share: float | None = None
) -> list[list[Point]]:
    """One outline of few points, at least three, for each part of a mask, the largest first.

    Args:
        mask: (H, W) bool.
        edges: along pixel edges; else through the centres of the outermost pixels, as X-AnyLabeling fills.
        share: how far an outline may leave the mask, as a share of its length; None for ``NEAR`` pixels.

    >>> outlines(np.ones((9, 9), bool), edges=True)
    [[(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0)]]
    """
    parts = []
    for ring in edge_polygons(mask) if edges else centre_polygons(mask):
        points = np.array(ring, np.float32).reshape(-1, 1, 2)
        near = NEAR if share is None else share * cv2.arcLength(points, True)
        kept = cv2.approxPolyDP(points, near, True).reshape(-1, 2)
        if len(kept) < 3:
            kept = np.concatenate([points.reshape(-1, 2), points.reshape(-1, 2)[-1:].repeat(2, axis=0)])
        parts.append([(float(x), float(y)) for x, y in kept.tolist()])
    return sorted(parts, key=lambda part: -cv2.contourArea(np.array(part, np.float32)))
