"""Masks as polygons, in the coordinates that each reader fills them by.

pycocotools fills between pixel edges: a pixel (x, y) reaches from x to x + 1. ImageDraw, which LabelMe uses,
and OpenCV's fillPoly, which Ultralytics uses, also fill the pixels that the outline runs through: they want
the centres of the outermost pixels. Through the wrong ones, a mask comes back with an IoU of 0.85 to 0.9.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1)  # now pixel x has the centres 2x and 2x + 1
    return _polygons([[_along_edges(ring) for ring in part] for part in _parts(doubled)])


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
    return _polygons(_parts(mask))


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


def _parts(mask: NDArray[np.bool_]) -> list[list[NDArray[np.int32]]]:
    """The outline of each part through pixel centres, followed by those of its holes.

    Parts are connected by sides or corners.
    """
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
