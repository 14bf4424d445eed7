"""COCO's run lengths: compact masks, as pycocotools reads and writes them.

Run lengths, sizes and corners are checked before they reach pycocotools, which does not validate its input and
whose time and memory grow with the length of an outline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, described

Size = tuple[int, int]
"""(height, width) in pixels."""
MARGIN = 2
"""Pixels around the picture in which corners are left as they are, so that no outline runs along its border."""
FARTHEST = 1e9
"""Farther corners are moved to this distance before clipping, so that no product overflows."""
LONGEST = 2_000_000
"""The longest outline of one object in pixels; pycocotools takes about 100 bytes for each."""
MOST_VALUES = 100_000
"""Most objects of an image that a picture of numbers may hold."""
LETTERS = 7
"""The most letters of one run length: pycocotools counts in 32 bits, five of them in each letter."""


@dataclass(frozen=True)
class Mask:
    """A mask as COCO's compressed run lengths, column by column.

    Attributes:
        size: (height, width) in pixels.
        counts: the run lengths as COCO writes them in a text.

    >>> mask = Mask.of(np.array([[False, True], [False, True]]))
    >>> mask.counts, mask.area, mask.box
    ('22', 2, (1, 0, 2, 2))
    >>> mask.array().tolist()
    [[False, True], [False, True]]
    """

    size: Size
    counts: str

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Mask:
        """The run lengths of a mask (H, W) bool."""
        return cls.of_crop(mask, (0, 0), (mask.shape[0], mask.shape[1]))

    @classmethod
    def of_crop(cls, crop: NDArray[np.bool_], corner: tuple[int, int], size: Size) -> Mask:
        """The run lengths of a mask of which only a part (h, w) can have pixels.

        Args:
            crop: the part.
            corner: (x, y) of its upper left pixel.
            size: (height, width) of the whole mask, which holds the part.
        """
        (x, y), (height, width) = corner, size
        columns = np.flatnonzero(crop.any(axis=0))
        if not columns.size:
            return cls.of_runs(size, [height * width])
        first, last = int(columns[0]), int(columns[-1]) + 1
        strip = np.zeros((last - first, height), bool)  # only the columns that have pixels are turned
        strip[:, y : y + crop.shape[0]] = crop[:, first:last].T
        flat, start = strip.reshape(-1), (x + first) * height
        places = np.flatnonzero(flat[1:] != flat[:-1]) + 1 + start
        stop = start + flat.size
        changes = [0, *([start] if flat[0] else []), *places.tolist()]
        changes += [stop] if flat[-1] and stop < height * width else []
        return cls.of_runs(size, np.diff([*changes, height * width]).tolist())

    @classmethod
    def of_box(cls, box: tuple[int, int, int, int], size: Size) -> Mask:
        """The pixels of a box x0, y0, x1, y1 inside the picture, in a time that does not grow with its area.

        >>> Mask.of_box((1, 0, 3, 1), (2, 3)).array().astype(int).tolist()
        [[0, 1, 1], [0, 0, 0]]
        """
        (x0, y0, x1, y1), (height, width) = box, size
        across, down = x1 - x0, y1 - y0
        if min(across, down) < 1:
            return cls.of_runs(size, [height * width])
        if down == height:
            across, down, height = 1, across * down, 0
        runs = [x0 * size[0] + y0, down, *[height - down, down] * (across - 1)]
        rest = size[0] * size[1] - sum(runs)
        return cls.of_runs(size, [*runs, rest] if rest else runs)

    @classmethod
    def of_values(cls, values: NDArray[np.integer]) -> Iterator[tuple[int, Mask]]:
        """Each value of an array (H, W), in order, with the mask of its pixels; all of them in one pass.

        Raises:
            DataError: there are more than ``MOST_VALUES``.

        >>> [(value, mask.area) for value, mask in Mask.of_values(np.array([[7, 2, 7]]))]
        [(2, 1), (7, 2)]
        """
        size, flat = (values.shape[0], values.shape[1]), values.T.reshape(-1)
        order = np.argsort(flat, kind="stable")
        ordered = flat[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        if len(starts) > MOST_VALUES:
            raise DataError(f"expected at most {MOST_VALUES:,} objects in an image, got {len(starts):,}")
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), flat.size], strict=True):
            places = order[start:stop]
            gaps = np.flatnonzero(np.diff(places) > 1)
            firsts, ends = places[np.concatenate([[0], gaps + 1])], places[np.concatenate([gaps, [-1]])] + 1
            changes = [0, *np.stack([firsts, ends], axis=1).reshape(-1).tolist()]
            changes += [flat.size] if changes[-1] < flat.size else []
            yield int(ordered[start]), cls.of_runs(size, np.diff(changes).tolist())

    @classmethod
    def of_runs(cls, size: Size, runs: Sequence[int]) -> Mask:
        """A mask from run lengths column by column, the first of them outside the object.

        Raises:
            DataError: they are no run lengths of an image of this size.
        """
        from pycocotools import mask as rle

        check_runs(runs, size)
        coded = rle.frPyObjects({"size": list(size), "counts": list(runs)}, *size)
        return cls(size, coded["counts"].decode())

    @classmethod
    def of_polygons(cls, size: Size, polygons: Sequence[Sequence[float]]) -> Mask:
        """Polygons x, y, x, y … along pixel edges as one mask, as pycocotools fills them. Raises DataError."""
        from pycocotools import mask as rle

        parts = [corners(size, polygon) for polygon in polygons]
        check_length(parts)
        lists = [part.reshape(-1).tolist() for part in parts if len(part) >= 3]  # two would be read as a box
        if not lists:
            return cls.of_runs(size, [size[0] * size[1]])
        return cls(size, rle.merge(rle.frPyObjects(lists, *size))["counts"].decode())

    @classmethod
    def of_coco(cls, segmentation: object, size: Size) -> Mask:
        """A mask from COCO's polygons, or run lengths as text or numbers. Raises DataError."""
        if isinstance(segmentation, list) and segmentation:
            return cls.of_polygons(size, segmentation)
        if not isinstance(segmentation, dict):
            raise DataError(f"expected polygons or run lengths, got {described(segmentation)}")
        counts = segmentation["counts"]
        if tuple(segmentation["size"]) != size:
            raise DataError(f"expected a mask of {size}, got one of {segmentation['size']}")
        if isinstance(counts, list):
            return cls.of_runs(size, counts)
        return cls(size, counts.decode() if isinstance(counts, bytes) else str(counts)).checked()

    @classmethod
    def union(cls, masks: Sequence[Mask]) -> Mask:
        """The pixels of one or more masks of one size."""
        from pycocotools import mask as rle

        if len(masks) == 1:
            return masks[0]
        return cls(masks[0].size, rle.merge([mask.coded for mask in masks])["counts"].decode())

    def runs(self) -> list[int]:
        """The run lengths as numbers, the first of them outside the object.

        Raises:
            DataError: the text holds something else.
        """
        letters = np.frombuffer(self.counts.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
        ends = np.flatnonzero((letters & 32) == 0) + 1  # five bits a letter, the sixth: there are more
        sizes = np.diff(ends, prepend=0)
        bad = not letters.size or ends.size == 0 or ends[-1] != letters.size or sizes.max() > LETTERS
        if bad or letters.min() < 0 or letters.max() > 63:
            raise DataError(f"expected run lengths of COCO, got {described(self.counts)}")
        starts = ends - sizes
        shifts = 5 * (np.arange(letters.size) - np.repeat(starts, sizes))
        values = np.add.reduceat((letters & 31) << shifts, starts)
        values -= np.where(letters[ends - 1] & 16, 1 << (5 * sizes), 0)  # the sign
        values[1::2] = np.cumsum(values[1::2])  # from the fourth on, differences to the last but one
        values[2::2] = np.cumsum(values[2::2])
        return values.tolist()

    def checked(self) -> Mask:
        """The mask itself where its run lengths fit its size; what comes from a file is checked once.

        Raises:
            DataError: they do not.
        """
        check_runs(self.runs(), self.size)
        return self

    def array(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        from pycocotools import mask as rle

        return np.asarray(rle.decode(self.coded)).view(np.bool_)

    @property
    def coded(self) -> dict[str, object]:
        """As pycocotools takes it: ``{"size": [h, w], "counts": bytes}``."""
        return {"size": list(self.size), "counts": self.counts.encode()}

    @property
    def area(self) -> int:
        """Pixels of the object."""
        from pycocotools import mask as rle

        return int(rle.area(self.coded))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 at pixel edges, so that x1 - x0 is the width; zeros where there are no pixels."""
        from pycocotools import mask as rle

        x, y, width, height = (int(side) for side in rle.toBbox(self.coded))
        return x, y, x + width, y + height


def check_runs(runs: Iterable[object], size: Size) -> None:
    """Check run lengths in Python's integers, in which no sum wraps around, before anything is allocated.

    Raises:
        DataError: they are not the run lengths of a mask of ``size`` (height, width).

    >>> check_runs([1, 2**64], (1, 1))
    Traceback (most recent call last):
    ...
    ovseg.errors.DataError: expected run lengths of 1 x 1 pixels, got [1, 18446744073709551616]
    """
    listed = list(runs)
    valid = [run for run in listed if isinstance(run, int) and not isinstance(run, bool) and run >= 0]
    if len(valid) < len(listed) or sum(valid) != size[0] * size[1]:
        raise DataError(f"expected run lengths of {size[0]} x {size[1]} pixels, got {described(listed[:9])}")


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


def coco_annotation(mask: Mask, number: int, image_id: int, category_id: int) -> dict[str, object]:
    """COCO's annotation of a mask: run lengths as text, area in pixels, bbox (x, y, width, height)."""
    x0, y0, x1, y1 = mask.box
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": {"size": list(mask.size), "counts": mask.counts},
        "area": mask.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
    }
