"""Masks as outlines of few points, for tools in which people move them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats.shapes import Point, centre_polygons, edge_polygons

NEAR = 0.75
"""Pixels by which an outline may leave the mask's where no other number is given."""


def outlines(
    mask: NDArray[np.bool_], *, edges: bool = False, share: float | None = None
) -> list[list[Point]]:
    """One outline of at least three points for each part of a mask, the largest first.

    Args:
        mask: (H, W) bool.
        edges: along pixel edges; else through the centres of the outermost pixels, as X-AnyLabeling fills.
        share: how far an outline may leave the mask's, as a share of its length; None for ``NEAR`` pixels.

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
