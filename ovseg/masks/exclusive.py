"""Masks stored as crops, and the assignment of shared pixels to one object each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ovseg.results import Mask, bounds

SAME = 0.8
"""Two masks with a larger IoU are the same object, found twice."""
LEAST = 0.2
"""A mask that keeps less than this share of its pixels is dropped."""
SAMPLED = 65_536
"""About how many pixels of an overlap are compared at most."""


@dataclass(frozen=True, eq=False)
class Found:
    """The mask of one object, stored as the crop inside its bounding box.

    Attributes:
        label: the index of its word.
        crop: (h, w) bool, the mask inside ``box``.
        box: x0, y0, x1, y1 in pixels of the image.
        score: the IoU that the segmenter estimates.
    """

    label: int
    crop: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    score: float

    @classmethod
    def of(cls, label: int, mask: NDArray[np.bool_], score: float) -> Found:
        """Crop a mask (H, W), which must not be empty."""
        x0, y0, x1, y1 = box = bounds(mask)
        return cls(label, mask[y0:y1, x0:x1].copy(), box, score)

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.crop))

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) bool in an image of ``size`` (height, width)."""
        out = np.zeros(size, bool)
        x0, y0, x1, y1 = self.box
        out[y0:y1, x0:x1] = self.crop
        return out

    def coded(self, size: tuple[int, int]) -> Mask:
        """The mask as run lengths in an image of ``size`` (height, width)."""
        return Mask.of_crop(self.crop, self.box[:2], size)

    def is_same(self, other: Found) -> bool:
        """Whether two masks are the same object: their IoU is above ``SAME``."""
        shared = _shared(self, other)
        return shared is not None and _is_same(self, other, shared)

    def without(self, taken: NDArray[np.bool_]) -> Found | None:
        """The mask without the pixels of ``taken`` (H, W); None if less than ``LEAST`` of it is left."""
        x0, y0, x1, y1 = self.box
        return _rest(replace(self, crop=self.crop & ~taken[y0:y1, x0:x1]), self)


def exclusive(
    found: Sequence[Found], maps: Mapping[int, NDArray[np.float32]], size: tuple[int, int]
) -> list[Found]:
    """Assign each pixel of an image to at most one mask.

    Shared pixels of two words go to the word whose map has the higher mean there; those of one word's masks
    to the mask with the higher score; ties to the earlier mask. Of nearly equal masks (IoU above ``SAME``)
    only the winner is kept, whole. Masks that keep less than ``LEAST`` of their pixels are dropped.

    Args:
        found: the masks, in the order of the words.
        maps: label to map (h, w); all have one grid and a common scale.
        size: (height, width) of the image.

    Returns:
        The remaining masks, in the same order.
    """
    left: list[Found | None] = list(found)
    touching = []
    for i, j in combinations(range(len(found)), 2):  # duplicates first: a dropped mask takes no pixels
        one, other = left[i], left[j]
        if one is None or other is None or (shared := _shared(one, other)) is None:
            continue
        if _is_same(one, other, shared):
            left[j if _wins(one, other, shared, maps, size) else i] = None
        else:
            touching.append((i, j))
    for i, j in touching:
        one, other = left[i], left[j]
        if one is None or other is None or (shared := _shared(one, other)) is None:
            continue
        index, loser = (j, other) if _wins(one, other, shared, maps, size) else (i, one)
        crop = loser.crop.copy()
        crop[_inside(loser, shared.box)] &= ~shared.crop
        left[index] = replace(loser, crop=crop)
    rests = (_rest(one, whole) for one, whole in zip(left, found, strict=True) if one is not None)
    return [one for one in rests if one is not None]


@dataclass(frozen=True, eq=False)
class _Shared:
    """The pixels that two masks share, as the crop (h, w) inside ``box``."""

    crop: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    area: int


def _shared(one: Found, other: Found) -> _Shared | None:
    x0, y0 = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    x1, y1 = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    if x0 >= x1 or y0 >= y1:
        return None
    box = (x0, y0, x1, y1)
    crop = one.crop[_inside(one, box)] & other.crop[_inside(other, box)]
    area = int(np.count_nonzero(crop))
    return _Shared(crop, box, area) if area else None


def _is_same(one: Found, other: Found, shared: _Shared) -> bool:
    return shared.area / float(one.area + other.area - shared.area) > SAME


def _inside(one: Found, box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    x0, y0 = one.box[:2]
    return slice(box[1] - y0, box[3] - y0), slice(box[0] - x0, box[2] - x0)


def _wins(
    one: Found, other: Found, shared: _Shared, maps: Mapping[int, NDArray[np.float32]], size: tuple[int, int]
) -> bool:
    """Whether the shared pixels go to ``one``, which comes before ``other``."""
    if one.label == other.label:
        return one.score >= other.score
    step = max(1, math.isqrt(shared.area // SAMPLED))
    rows, columns = np.nonzero(shared.crop[::step, ::step])
    if not rows.size:
        step = 1
        rows, columns = np.nonzero(shared.crop)
    grid = maps[one.label].shape
    y = (shared.box[1] + rows * step) * grid[0] // size[0]
    x = (shared.box[0] + columns * step) * grid[1] // size[1]
    first, second = (float(maps[k][y, x].mean(dtype=np.float64)) for k in (one.label, other.label))
    return first >= second


def _rest(one: Found, whole: Found) -> Found | None:
    """Shrink the box to the remaining pixels; None if they are less than ``LEAST`` of ``whole``."""
    if one.area < max(1, LEAST * whole.area):
        return None
    tight = Found.of(one.label, one.crop, one.score)
    x0, y0, x1, y1 = tight.box
    return replace(tight, box=(one.box[0] + x0, one.box[1] + y0, one.box[0] + x1, one.box[1] + y1))
