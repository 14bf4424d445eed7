"""Point prompts from similarity maps: the paper's rule, and a rule with fewer points per component.

Both take the map on the token grid (h, w), with values of any range, and the image's (height, width). Points
are (x, y) in pixels of that image. A constant map gives no points.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ovseg.errors import UsageError
from ovseg.options import MAP_THRESHOLDS
from ovseg.results.base import PointPrompts

Floats: TypeAlias = "NDArray[np.floating[Any]]"
Mask: TypeAlias = "NDArray[np.bool_]"
FINE = 96
"""The long side of the map on which components are found: the grid, interpolated."""
_FLAT = 1e-6  # as in maps.similarity.min_max: smaller spreads of a cosine are rounding


def normalise(values: Floats) -> NDArray[np.float32] | None:
    """(h, w) to 0..1 in float32, or None for a constant map, where nothing stands out."""
    if values.ndim != 2 or values.size == 0:
        raise UsageError(f"expected a map (h, w), got {values.shape}")
    low, high = float(values.min()), float(values.max())
    if not high - low > _FLAT:  # also NaN
        return None
    return ((values - low) / (high - low)).astype(np.float32)


def no_points() -> PointPrompts:
    """An empty prompt set."""
    return PointPrompts(np.zeros((0, 2), np.float32), np.zeros(0, np.uint8))


# ----------------------------------------------------------------------------------- the paper's rule


def paper_points(
    values: Floats, size: tuple[int, int], threshold: float = MAP_THRESHOLDS["paper"], halve: bool = False
) -> PointPrompts:
    """The points of the paper's section 4.5: every cell at or above a threshold, and as many of the lowest
    cells.

    At most half of the cells become positives. Points are whole pixels at the cells' centres, in ascending
    order of the map among the positives and among the negatives.

    Args:
        values: the map on its grid, (h, w).
        size: (height, width) of the image in pixels.
        threshold: on the min-max normalised map, in 0..1.
        halve: shrink the grid to half its side first, bilinear, as the public code does to smooth it.
    """
    if halve:
        values = _halve(values)
    unit = normalise(values)
    if unit is None:
        return no_points()
    count = min(int((unit >= threshold).sum()), unit.size // 2)
    order = np.argsort(unit, axis=None, kind="stable")
    cells = np.concatenate([order[unit.size - count :], order[:count]])
    xy = np.floor(_centres(cells, unit.shape, size))
    return PointPrompts(xy, np.repeat(np.array([1, 0], np.uint8), count))


def paper_points_of_several(
    maps: Floats, size: tuple[int, int], threshold: float = MAP_THRESHOLDS["paper"], halve: bool = False
) -> PointPrompts:
    """Combined targets ("person+bench"): maps (K, h, w), positives from each, negatives from their mean."""
    units = [unit for unit in map(normalise, maps) if unit is not None]
    if not units:
        return no_points()
    positives = [paper_points(unit, size, threshold, halve).positives for unit in units]
    negatives = paper_points(np.mean(units, axis=0), size, threshold, halve).negatives
    xy = np.concatenate([*positives, negatives])
    labels = np.ones(len(xy), np.uint8)
    labels[len(xy) - len(negatives) :] = 0
    return PointPrompts(xy, labels)


def _halve(values: Floats) -> NDArray[np.float32]:
    shape = (max(1, values.shape[0] // 2), max(1, values.shape[1] // 2))
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    return np.asarray(F.interpolate(tensor, shape, mode="bilinear", align_corners=False)[0, 0])


def _centres(
    cells: NDArray[np.integer[Any]], grid: tuple[int, ...], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Flat cell indices of ``grid`` (h, w) to (x, y) at the cells' centres in an image of ``size``."""
    scale = np.array([size[1] / grid[1], size[0] / grid[0]])
    xy = (np.stack([cells % grid[1], cells // grid[1]], axis=-1) + 0.5) * scale
    return np.minimum(xy, [size[1] - 1, size[0] - 1]).astype(np.float32)


# ---------------------------------------------------------------------------------------- our own rule


def component_points(
    values: Floats,
    size: tuple[int, int],
    threshold: float = MAP_THRESHOLDS["components"],
    positives: int = 3,
    negatives: int = 4,
    smallest: float = 0.12,
    most: int = 8,
    avoid: Floats | None = None,
) -> list[tuple[PointPrompts, NDArray[np.float32]]]:
    """One prompt set for each connected component of the map above a threshold, the strongest first.

    The map is first interpolated to ``FINE`` cells on its long side, so that points are finer than a patch.
    Ties fall to the first cell in reading order, so the result is always the same.

    Args:
        values: the map on its grid, (h, w).
        size: (height, width) of the image in pixels.
        threshold: on the min-max normalised map, in 0..1.
        positives: at most so many points on a component: its peak, then the places farthest from the points
            that are taken, away from its border.
        negatives: at most so many points around it, on the low part of the map, the nearest first and spread;
            none where the map falls off too slowly for a low part to be near.
        smallest: components below this share of the largest one's area are left out.
        most: at most so many components.
        avoid: (h, w) in 0..1, where other targets are; no negatives are put there.

    Returns:
        For each component its prompts, and the map (h', w') in 0..1 without the other components.
    """
    fine = fine_map(values, size)
    if fine is None:
        return []
    taken = fine if avoid is None else np.maximum(fine, enlarge(avoid.astype(np.float32), size))
    high = fine >= threshold
    return [
        (
            _region_points(region, fine, taken, size, positives, negatives, threshold),
            np.where(high & ~region, 0, fine),
        )
        for region in components(high, fine, smallest)[:most]
    ]


def fine_map(values: Floats, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """The map (h', w') in 0..1 on which components are found, or None for a constant one."""
    unit = normalise(values)
    return None if unit is None else normalise(enlarge(unit, size))


def components(mask: Mask, values: Floats, smallest: float) -> list[Mask]:
    """The 8-connected parts of ``mask`` (h, w), each (h, w) bool, by the sum of ``values`` on them."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas = np.bincount(labels.ravel(), minlength=count)
    areas[0] = 0
    weight = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    kept = [k for k in range(1, count) if areas[k] >= smallest * areas.max()]
    return [labels == k for k in sorted(kept, key=lambda k: -weight[k])]


def _region_points(
    region: Mask,
    fine: Floats,
    taken: Floats,
    size: tuple[int, int],
    positives: int,
    negatives: int,
    threshold: float,
) -> PointPrompts:
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    inner = region & (depth >= 0.5 * depth.max())  # not on the border, where the map is least sure
    on = _spread(inner, np.where(inner, fine + 0.01 * depth / depth.max(), -1), positives)
    away = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5)
    low = taken <= 0.5 * threshold
    reach = max(4.0, np.sqrt(region.sum()) / 2)
    ring = low & (away >= 2) & (away <= reach)
    off = _spread(ring, np.where(ring, -away - 10 * taken, -np.inf), negatives)
    cells = np.array(on + off, dtype=int)
    labels = np.array([1] * len(on) + [0] * len(off), np.uint8)
    return PointPrompts(_centres(cells, fine.shape, size), labels)


def _spread(allowed: Mask, preference: Floats, count: int) -> list[int]:
    """Up to ``count`` flat indices in ``allowed``: the most preferred one, then the farthest from those."""
    chosen: list[int] = []
    places = np.flatnonzero(allowed)
    if not len(places):
        return chosen
    y, x = np.divmod(places, allowed.shape[1])
    index = int(np.argmax(preference.ravel()[places]))
    nearest = np.full(len(places), np.inf)
    while len(chosen) < count:
        chosen.append(int(places[index]))
        nearest = np.minimum(nearest, (y - y[index]) ** 2 + (x - x[index]) ** 2)
        index = int(np.argmax(nearest))
        if nearest[index] < 4:  # what is left touches a point already there
            break
    return chosen


def enlarge(values: Floats, size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear to the image's aspect ratio with ``FINE`` on the long side, never finer than the image.

    A grid with more cells, as windows make it, keeps as many: small objects would be lost between fewer.
    """
    scale = min(1.0, max(FINE, *values.shape) / max(size))
    width, height = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR))
