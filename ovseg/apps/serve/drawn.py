"""Drawings of Label Studio, which are key points, rectangles and brush strokes, to marks in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats.brush import decode_brush
from ovseg.apps.serve.core import Marks
from ovseg.errors import DataError, described

KEY_POINTS, RECTANGLES, BRUSHES = (
    ("keypointlabels", "keypoint"),
    ("rectanglelabels", "rectangle"),
    ("brushlabels", "brush"),
)
DRAWN = (*KEY_POINTS, *RECTANGLES, *BRUSHES)
LONGEST_STROKE = 4_000_000
"""Most bytes of a brush stroke's run lengths."""
STROKE_POINTS = 5
"""Points that represent a brush stroke."""


def marks_of(results: Sequence[Mapping[str, object]], size: tuple[int, int]) -> Marks:
    """The marks of the newest region of a context; for a key point, with the earlier ones of its label.

    Args:
        results: the regions in the order in which they were drawn.
        size: (height, width) of the image in pixels.

    Raises:
        DataError: a region is malformed, outside the image, or was drawn on an image turned in the editor.

    >>> point = {"type": "keypointlabels", "value": {"x": 50, "y": 25}}
    >>> marks_of([point, {**point, "is_positive": False}], (40, 80)).clicks
    ((40.0, 10.0, True), (40.0, 10.0, False))
    """
    newest = results[-1]
    _check_upright(newest)
    if newest.get("type") in RECTANGLES:
        return Marks((), _rectangle(_value(newest), size))
    if newest.get("type") in BRUSHES:
        return Marks(_stroke(_value(newest), size))
    same = [one for one in results if one.get("type") in KEY_POINTS and label_in(one) == label_in(newest)]
    clicks = []
    for one in same:
        _check_upright(one)
        x, y = _percent(_value(one), ("x", "y"))
        place = (min(x * size[1] / 100, size[1] - 1.0), min(y * size[0] / 100, size[0] - 1.0))
        clicks.append((*place, one.get("is_positive", True) is not False))
    return Marks(tuple(clicks))


def _check_upright(region: Mapping[str, object]) -> None:
    """A turned image's percentages are of its turned sides, and an answer of ours would lie elsewhere."""
    turned = region.get("image_rotation") or 0
    if not isinstance(turned, (int, float)) or turned % 360:
        raise DataError(f"expected an upright image, got one turned by {described(turned)}: turn it back")


def label_in(region: Mapping[str, object]) -> str | None:
    """The label of a region, or None."""
    found = _value(region).get(str(region.get("type")))
    labels = found if isinstance(found, list) else _value(region).get("labels")
    if isinstance(labels, list) and labels and isinstance(labels[0], str):
        return labels[0]
    return None


def _value(region: Mapping[str, object]) -> Mapping[str, object]:
    value = region.get("value")
    if not isinstance(value, dict):
        raise DataError(f"expected a region with a value, got {described(value)}")
    return value


def _percent(value: Mapping[str, object], keys: Sequence[str]) -> list[float]:
    """Values in 0..100: percentages of the image's sides."""
    given = [value.get(key) for key in keys]
    numbers = [
        float(one)
        for one in given
        if isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one <= 100
    ]
    if len(numbers) != len(given):
        raise DataError(f"expected percent in 0..100, got {described(given)}")
    return numbers


def _rectangle(value: Mapping[str, object], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The bounding box of a rectangle, which Label Studio turns around its upper left corner."""
    x, y, width, height = _percent(value, ("x", "y", "width", "height"))
    turned = value.get("rotation") or 0
    if not isinstance(turned, (int, float)) or not -1e6 < turned < 1e6:
        raise DataError(f"expected a rotation in degrees, got {described(turned)}")
    across, down = width * size[1] / 100, height * size[0] / 100
    cosine, sine = math.cos(math.radians(turned)), math.sin(math.radians(turned))
    corners = np.array([[0, 0], [across, 0], [0, down], [across, down]])
    corners = corners @ np.array([[cosine, sine], [-sine, cosine]])
    corners += [x * size[1] / 100, y * size[0] / 100]
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1, y1


def _stroke(value: Mapping[str, object], size: tuple[int, int]) -> tuple[tuple[float, float, bool], ...]:
    """Points along a brush stroke, each on the object."""
    rle = value.get("rle")
    if not isinstance(rle, list) or len(rle) > LONGEST_STROKE:
        raise DataError(f"expected a brush stroke as run lengths, got {described(rle)}")
    mask = decode_brush(rle, size)
    if not mask.any():
        raise DataError("expected a brush stroke, got one without pixels")
    return tuple((float(x), float(y), True) for x, y in spread_points(mask, STROKE_POINTS))


def spread_points(mask: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """Pixels of a mask, the deepest first, each as far from the others as it can be.

    Args:
        mask: (H, W) bool with at least one pixel.
        count: how many at most.

    Returns:
        (x, y) of each.

    >>> spread_points(np.ones((1, 9), bool), 2)
    [(4, 0), (0, 0)]
    """
    padded = np.pad(mask, 1).astype(np.uint8)  # the image's border counts as the stroke's
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.5 * depth.max())
    first = int(np.argmin((rows - np.median(rows)) ** 2 + (columns - np.median(columns)) ** 2))
    chosen = [first]
    nearest = np.full(len(rows), np.inf)
    for _ in range(min(count, len(rows)) - 1):
        gap = (rows - rows[chosen[-1]]) ** 2 + (columns - columns[chosen[-1]]) ** 2
        nearest = np.minimum(nearest, gap)
        chosen.append(int(nearest.argmax()))
    return [(int(columns[k]), int(rows[k])) for k in chosen]
