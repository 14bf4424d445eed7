"""Similarity maps to point prompts: the paper's rule, and one of our own that makes fewer points.

Both take the map on the token grid (h, w), of any shape and range, and the image's (height, width);
points are (x, y) in pixels of that image. A constant map points nowhere and gives no points.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ovseg.types import PointPrompts

RULES = ("components", "paper")
FINE = 96
"""The long side of the map on which components are found: the grid, interpolated."""
_FLAT = 1e-6  # as in maps.similarity.min_max: smaller spreads of a cosine are rounding


def normalise(values: np.ndarray) -> np.ndarray | None:
    """(h, w) to 0..1 in float32, or None for a constant map, where nothing stands out."""
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"wanted a map (h, w), got {values.shape}")
    low, high = float(values.min()), float(values.max())
    if not high - low > _FLAT:  # also NaN
        return None
    return ((values - low) / (high - low)).astype(np.float32)


def no_points() -> PointPrompts:
    return PointPrompts(np.zeros((0, 2), np.float32), np.zeros(0, np.uint8))


# ----------------------------------------------------------------------------------- the paper's rule


def paper_points(
    values: np.ndarray, size: tuple[int, int], threshold: float = 0.8, halve: bool = False
) -> PointPrompts:
    """Every cell at or above ``threshold`` of the min-max map, and as many of the lowest (paper, 4.5).

    At most half of the cells become positives. Points are whole pixels, cell centres, in ascending
    order of the map among positives and among negatives. ``halve`` first shrinks the grid to half
    its side, bilinear, as the public code does to smooth it.
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
    maps: np.ndarray, size: tuple[int, int], threshold: float = 0.8, halve: bool = False
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


def _halve(values: np.ndarray) -> np.ndarray:
    shape = (max(1, values.shape[0] // 2), max(1, values.shape[1] // 2))
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    return np.asarray(F.interpolate(tensor, shape, mode="bilinear", align_corners=False)[0, 0])


def _centres(cells: np.ndarray, grid: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """Flat cell indices of ``grid`` (h, w) to (x, y) at the cells' centres in an image of ``size``."""
    scale = np.array([size[1] / grid[1], size[0] / grid[0]])
    xy = (np.stack([cells % grid[1], cells // grid[1]], axis=-1) + 0.5) * scale
    return np.minimum(xy, [size[1] - 1, size[0] - 1]).astype(np.float32)


# ---------------------------------------------------------------------------------------- our own rule


def component_points(
    values: np.ndarray,
    size: tuple[int, int],
    threshold: float = 0.6,
    positives: int = 3,
    negatives: int = 4,
    smallest: float = 0.12,
    most: int = 8,
    avoid: np.ndarray | None = None,
) -> list[tuple[PointPrompts, np.ndarray]]:
    """One prompt set per connected component of the map above ``threshold``, the strongest first.

    With each comes the map it was taken from, (h', w') in 0..1, the other components cut out of it.
    A component gets up to ``positives`` points: its peak, then the places farthest from those taken,
    away from its border. It gets up to ``negatives`` points around it, on the low part of the map,
    nearest first and spread; none where the map falls off too slowly for a low part to be near.
    Components under ``smallest`` of the largest's area are dropped, and all beyond ``most``.
    ``avoid`` (h, w) in 0..1: where other targets are, which takes no negatives.

    The map is interpolated to ``FINE`` cells on its long side before, so that points are finer than
    a patch. Deterministic: ties fall to the first in reading order.
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


def fine_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """The map (h', w') in 0..1 on which components are found, or None for a constant one."""
    unit = normalise(values)
    return None if unit is None else normalise(enlarge(unit, size))


def components(mask: np.ndarray, values: np.ndarray, smallest: float) -> list[np.ndarray]:
    """The 8-connected parts of ``mask`` (h, w), each (h, w) bool, by the sum of ``values`` on them."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas = np.bincount(labels.ravel(), minlength=count)
    areas[0] = 0
    weight = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    kept = [k for k in range(1, count) if areas[k] >= smallest * areas.max()]
    return [labels == k for k in sorted(kept, key=lambda k: -weight[k])]


def _region_points(
    region: np.ndarray,
    fine: np.ndarray,
    taken: np.ndarray,
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


def _spread(allowed: np.ndarray, preference: np.ndarray, count: int) -> list[int]:
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


def enlarge(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear to the image's aspect ratio with ``FINE`` on the long side, never finer than the image.

    A grid with more cells, as windows make it, keeps as many: small objects would be lost between fewer.
    """
    scale = min(1.0, max(FINE, *values.shape) / max(size))
    width, height = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR))
