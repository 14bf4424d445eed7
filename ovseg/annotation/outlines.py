"""Masks as polygons, in the coordinates that each reader fills them by.

pycocotools fills between pixel edges: a pixel (x, y) reaches from x to x + 1. ImageDraw, which LabelMe uses,
and OpenCV's fillPoly, which Ultralytics uses, also fill the pixels that the outline runs through: they want
the centres of the outermost pixels. Through the wrong ones, a mask comes back with an IoU of 0.85 to 0.9.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
"""x, y in pixels."""


def edge_polygons(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """The outlines of a mask along pixel edges, one closed polygon for each part, for pycocotools.

    Parts are connected by sides, not by corners. A hole is joined to the outline around it by a cut of no
    width, so that filling by the even-odd rule gives the mask back exactly.

    Args:
        mask: (H, W) bool.

    Returns:
        Polygons without the first point repeated; none where there are no pixels.

    >>> edge_polygons(np.array([[False, True]]))
    [[(1, 0), (2, 0), (2, 1), (1, 1)]]
    """
    loops = _Loops(mask)
    for loop in loops.holes:
        loops.join(loop)
    return [loops.points(loop) for loop in loops.parts]


def centre_polygons(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """The outlines of a mask through the centres of its outermost pixels, one for each part.

    A whole number stands for the centre of a pixel. Parts are connected by sides or corners. A hole is joined
    to its outline by the shortest line there and back.

    Args:
        mask: (H, W) bool.

    Returns:
        Polygons without the first point repeated, the largest part first; a part of one pixel is one point.

    >>> centre_polygons(np.array([[False, True, True]]))
    [[(1, 0), (2, 0)]]
    """
    found, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [ring.reshape(-1, 2).astype(np.int32) for ring in found]
    out = []
    for index, ring in enumerate(rings):
        if tree[0][index][3] < 0:  # an outline, not a hole
            holes = [other for k, other in enumerate(rings) if tree[0][k][3] == index]
            out.append((cv2.contourArea(ring.reshape(-1, 1, 2)), join_rings([ring, *holes])))
    order = sorted(range(len(out)), key=lambda k: (-out[k][0], out[k][1][0].tolist()))
    return [[(x, y) for x, y in out[k][1].tolist()] for k in order]


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


@dataclass
class _Segment:
    """A horizontal side of an outline from node to node, parted where holes were joined to it."""

    pieces: list[tuple[int, int]] = field(default_factory=list)


class _Loops:
    """The closed outlines of a mask along pixel edges, as nodes with a successor each."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask
        y, x, across, down = _corners(mask)
        self.nodes: list[Point] = list(zip(x.tolist(), y.tolist(), strict=True))
        self.after = [-1] * len(self.nodes)
        self.segments: dict[int, list[tuple[int, _Segment]]] = {}
        self.parts: list[int] = []
        self.holes: list[int] = []
        for first in range(
            len(self.nodes)
        ):  # in the order of rows: the uppermost node of a loop is its first
            if self.after[first] < 0:
                self._walk(first, across, down)
        for row in self.segments.values():
            row.sort(key=lambda one: one[0])

    def _walk(self, first: int, across: list[int], down: list[int]) -> None:
        node = first
        while True:
            other = across[node]
            self.after[node] = other
            left = int(min(self.nodes[node][0], self.nodes[other][0]))
            row = self.segments.setdefault(int(self.nodes[node][1]), [])
            row.append((left, _Segment([(node, other)])))
            node = self.after[other] = down[other]
            if node == first:
                break
        x, y = (int(side) for side in self.nodes[first])
        (self.parts if self.mask[y, x] else self.holes).append(first)

    def join(self, first: int) -> None:
        """Cut from a hole's upper left corner straight up to the outline above it."""
        x, y = (int(side) for side in self.nodes[first])
        above = np.flatnonzero(~self.mask[:y, x])
        top = int(above[-1]) + 1 if above.size else 0
        upper, lower = self._split(top, x), self._split(y, x)
        # upper: A -> P .. P' -> B; lower: V0 -> Q .. Q' -> V1; the way is A P Q' V1 ... V0 Q P' B.
        self.after[upper[0]] = lower[1]
        self.after[lower[0]] = upper[1]

    def _split(self, y: int, x: int) -> tuple[int, int]:
        """Put two nodes at (x + 0.5, y) on the side that runs there; nothing leads from one to the other."""
        row = self.segments[y]
        segment = row[bisect_right(row, x, key=lambda one: one[0]) - 1][1]
        place = x + 0.5
        index = next(
            k
            for k, (a, b) in enumerate(segment.pieces)
            if min(self.nodes[a][0], self.nodes[b][0]) < place < max(self.nodes[a][0], self.nodes[b][0])
        )
        start, end = segment.pieces[index]
        one, two = len(self.nodes), len(self.nodes) + 1
        self.nodes += [(place, y), (place, y)]
        self.after += [-1, end]
        self.after[start] = one
        segment.pieces[index : index + 1] = [(start, one), (two, end)]
        return one, two

    def points(self, first: int) -> list[Point]:
        """The nodes of a loop in order."""
        out, node = [self.nodes[first]], self.after[first]
        while node != first:
            out.append(self.nodes[node])
            node = self.after[node]
        return out


def _corners(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int], list[int]]:
    """Where outlines turn: y, x, and each corner's neighbour along its row and along its column.

    A corner where two pixels touch is there twice, once for each of them.
    """
    padded = np.pad(mask, 1)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    touch_down, touch_up = nw & se & ~ne & ~sw, ne & sw & ~nw & ~se
    times = (nw ^ ne ^ sw ^ se).astype(np.int8) + 2 * (touch_down | touch_up)
    y, x = np.nonzero(times)
    times = times[y, x]
    turned = np.repeat(touch_up[y, x], times)
    copy = np.concatenate([np.arange(n) for n in times]) if len(times) else np.zeros(0, np.int64)
    y, x = np.repeat(y, times), np.repeat(x, times)
    by_column = np.lexsort(
        (np.where(turned, 1 - copy, copy), y, x)
    )  # the copy that leads upwards comes first
    across = (np.arange(len(y)) ^ 1).tolist()  # nodes are sorted by rows: neighbours are pairs
    down = np.empty(len(y), np.int64)
    down[by_column] = by_column[np.arange(len(y)) ^ 1]
    return y, x, across, down.tolist()
