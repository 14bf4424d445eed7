"""Prompts for a region of a crop: clicks, boxes, simulated maps, and what the product's own maps make.

All coordinates are in pixels of the crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.maps.points import component_points, fine_map
from ovseg.masks.shapes import centred
from ovseg.options import MAP_THRESHOLDS
from ovseg.segmenters.small_modules import prompt_maps
from small_segmenter.pictures import UNKNOWN, Crop, draw_region

Mask = NDArray[np.bool_]
Map = NDArray[np.float32]
THRESHOLD = MAP_THRESHOLDS["components"]
KINDS = {"click": 0.2, "clicks": 0.2, "box": 0.18, "box and clicks": 0.06, "map": 0.36}
"""How often each kind of prompt comes."""
REAL = 0.85  # of the maps, where the product's own are known; the others are simulated
WHOLE = 0.5  # of the product's maps: the whole map, not one of its components
BARE = 0.45  # of the maps: without points
RIVAL = 0.6  # of the maps: with what else could be asked for
FIRM = 0.3  # share of a component that a region has to cover, or of a region that a component has to


@dataclass(frozen=True)
class Example:
    """A prompt and what it should give.

    Attributes:
        kind: one of ``KINDS``, or "error".
        target: (S, S) bool.
        points: (P, 2) float32.
        labels: (P,) uint8.
        box: (4,) float32.
        prior, rival: (h, w) float32 in 0..1.
    """

    kind: str
    target: Mask
    points: NDArray[np.float32]
    labels: NDArray[np.uint8]
    box: NDArray[np.float32] | None = None
    prior: Map | None = None
    rival: Map | None = None

    def maps(self) -> Tensor:
        """The network's input for it."""
        height, width = self.target.shape
        box, prior, rival = (
            None if u is None else torch.from_numpy(np.ascontiguousarray(u))
            for u in (self.box, self.prior, self.rival)
        )
        return prompt_maps(
            torch.from_numpy(self.points), torch.from_numpy(self.labels), box, prior, rival, (height, width)
        )


def draw_example(crop: Crop, rng: np.random.Generator) -> Example | None:
    """A random prompt on a crop; None where the crop has no region."""
    kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values()))))
    if kind == "map" and crop.picture.maps and rng.random() < REAL:
        found = real_map(crop, rng)
        if found is not None:
            return found
    target = draw_region(crop, rng)
    if target is None:
        return None
    if kind == "click":
        return Example(kind, target, *clicks(target, crop.labels, rng, 1, 0))
    if kind == "clicks":
        on, off = int(rng.integers(1, 5)), int(rng.integers(0, 5))
        return Example(kind, target, *clicks(target, crop.labels, rng, on, max(off, on == 1)))
    if kind == "map":
        return simulated_map(target, crop, rng)
    count = (int(rng.integers(0, 3)), int(rng.integers(0, 3))) if kind == "box and clicks" else (0, 0)
    return Example(kind, target, *clicks(target, crop.labels, rng, *count), box=box_of(target, rng))


def clicks(
    target: Mask, labels: NDArray[np.uint16], rng: np.random.Generator, on: int, off: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Points on a region, mostly well inside, and beside it, mostly near; none on what is not labelled."""
    depth = cv2.distanceTransform(np.pad(target, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    away = cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, 3)
    deep = depth >= rng.choice([0.98, 0.5, 0.0], p=[0.35, 0.4, 0.25]) * depth.max()
    reach = max(5.0, 0.7 * math.sqrt(np.count_nonzero(target))) if rng.random() < 0.75 else np.inf
    beside = ~target & (labels != UNKNOWN) & (away > 2) & (away < reach)
    places, marks = [], []
    for where, count, label in ((deep & target, on, 1), (beside, off, 0)):
        spots = np.flatnonzero(where)
        if count and len(spots):
            first = spots[rng.integers(len(spots))]
            anywhere = np.flatnonzero(target & (depth >= min(2, depth.max()))) if label else spots
            others = anywhere[rng.integers(len(anywhere), size=count - 1)]
            places += [first, *others]
            marks += [label] * count
    y, x = np.divmod(np.array(places, int), target.shape[1])
    return np.stack([x, y], -1).astype(np.float32).reshape(-1, 2) + 0.5, np.array(marks, np.uint8)


def box_of(target: Mask, rng: np.random.Generator) -> NDArray[np.float32]:
    """The bounds of a region, every side moved by up to 0, 3 or 10 % of the box."""
    rows, columns = np.flatnonzero(target.any(1)), np.flatnonzero(target.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    size = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-1, 1, 4) * size * rng.choice([0.0, 0.03, 0.1], p=[0.4, 0.35, 0.25])
    limit = np.array([target.shape[1], target.shape[0]] * 2)
    return np.clip(moved, 0, limit).astype(np.float32)


# ----------------------------------------------------------------------------------- the product's own maps


def real_map(crop: Crop, rng: np.random.Generator) -> Example | None:
    """What the product asks for one word of the picture; None where its map has no peak inside the crop."""
    picture, size = crop.picture, crop.picture.labels.shape
    areas = {
        name: sum(np.count_nonzero(crop.labels == k) for k, own in picture.names.items() if own == name)
        for name in picture.maps
    }
    there = [name for name, area in areas.items() if area >= 0.004 * crop.labels.size]
    if not there:
        return None
    weights = np.array([areas[name] for name in there], float) ** 0.3
    name = str(rng.choice(there, p=weights / weights.sum()))
    grid = picture.maps[name]
    own = [int(k) for k, known in picture.names.items() if known == name]
    target = np.isin(crop.labels, own)
    found = component_points(grid, size, THRESHOLD)
    whole = fine_map(grid, size)
    if whole is None or not found:
        return None
    if rng.random() < WHOLE:
        region, prompts = whole, [one for one, _ in found]
    else:
        index = int(rng.integers(min(len(found), 3)))
        region, prompts = found[index][1], [found[index][0]]
        target = _touched(target, crop, own, crop.of_map(region, 0.0) >= THRESHOLD)
    prior = crop.of_map(centred(region, THRESHOLD), 0.0)
    if prior.max() < 0.5:
        return None
    xy = crop.of_points(np.concatenate([one.xy for one in prompts]))
    marks = np.concatenate([one.labels for one in prompts])
    height, width = crop.labels.shape
    kept = (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height) & (rng.random() > BARE)
    others = [values for other, values in picture.maps.items() if other != name]
    rival = None
    if others and rng.random() < RIVAL:
        rival = crop.of_map(on_scale_of(grid, np.max(others, axis=0)), 0.0)
    return Example("map", target, xy[kept], marks[kept], prior=prior, rival=rival)


def on_scale_of(grid: Map, other: Map) -> Map:
    """Another word's map as the network sees it beside a word's own: stretched and centred like that one."""
    low, high = float(grid.min()), float(grid.max())
    unit = ((other - low) / max(high - low, 1e-6)).clip(0, 1)
    return centred(unit.astype(np.float32), THRESHOLD)


def _touched(target: Mask, crop: Crop, own: list[int], component: Mask) -> Mask:
    """The objects of a word that one component of its map is about; all of them if it is about none."""
    parts = []
    if crop.picture.objects:
        parts = [crop.labels == k for k in own]
    else:
        count, numbered = cv2.connectedComponents(target.astype(np.uint8), connectivity=8)
        parts = [numbered == k for k in range(1, count)]
    area = max(1, np.count_nonzero(component))
    out = np.zeros_like(target)
    for part in parts:
        both = np.count_nonzero(part & component)
        if both >= FIRM * area or both >= FIRM * max(1, np.count_nonzero(part)):
            out |= part
    return out if out.any() else target


# ------------------------------------------------------------------------------------------ simulated maps


def simulated_map(target: Mask, crop: Crop, rng: np.random.Generator) -> Example:
    """A map as coarse and as wrong as CLIP's: cells of a part of the picture, faded, moved, noisy, mixed."""
    side = len(target)
    cells = int(rng.integers(max(6, side // 24), max(8, side // 10)))
    values = _cells(target, cells)
    if rng.random() < 0.5:  # a part of the object is hardly seen
        cx, cy = rng.uniform(0, cells, 2)
        y, x = np.indices(values.shape)
        values = values * (1 - rng.uniform(0.3, 0.9) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / cells))
    rival = None
    others = [k for k in np.unique(crop.labels) if k != UNKNOWN]
    if others:
        other = _cells((crop.labels == rng.choice(others)) & ~target, cells)
        if rng.random() < 0.4:
            values = np.maximum(values, other * rng.uniform(0.2, 0.9))
        if rng.random() < RIVAL:
            rival = cv2.GaussianBlur(other, (0, 0), rng.uniform(0.4, 1.2))
            rival = rival + rng.normal(0, 0.05, rival.shape)
    values = np.roll(values, rng.integers(-1, 2, 2), (0, 1)) if rng.random() < 0.3 else values
    values = cv2.GaussianBlur(values.astype(np.float32), (0, 0), rng.uniform(0.3, 1.3))
    noise = cv2.GaussianBlur(rng.normal(size=values.shape), (0, 0), rng.uniform(0.5, 2))
    values = values / max(values.max(), 1e-6) + noise / max(noise.std(), 1e-6) * rng.uniform(0, 0.2)
    values = (values - values.min()) / max(float(np.ptp(values)), 1e-6)
    prior = centred(_enlarged(values, side).clip(0, 1), float(rng.uniform(0.35, 0.65)))
    count = (0, 0) if rng.random() < BARE else (int(rng.integers(1, 4)), int(rng.integers(0, 5)))
    points = clicks(target, crop.labels, rng, *count)
    rival = None if rival is None else _enlarged(rival, side).clip(0, 1)
    return Example("simulated", target, *points, prior=prior, rival=rival)


def _cells(mask: Mask, cells: int) -> Map:
    return np.asarray(cv2.resize(mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA))


def _enlarged(values: NDArray[np.floating], side: int) -> Map:
    return np.asarray(cv2.resize(values.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR))


# -------------------------------------------------------------------------------------------- error clicks


def corrected(one: Example, chance: Map, labels: NDArray[np.uint16], rng: np.random.Generator) -> Example:
    """The prompt again, with a click where the network's answer (S, S) in 0..1 is wrong.

    More often than not the answer itself is the first mask, as where a person corrects a mask.
    """
    wrong = ((chance > 0.5) != one.target) & (labels != UNKNOWN)
    depth = cv2.distanceTransform(np.pad(wrong, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    if depth.max() < 1.5:
        return replace(one, kind="error")
    spots = np.flatnonzero(depth >= 0.7 * depth.max())
    y, x = np.divmod(int(spots[rng.integers(len(spots))]), wrong.shape[1])
    points = np.concatenate([one.points, np.array([[x + 0.5, y + 0.5]], np.float32)])
    marks = np.concatenate([one.labels, np.array([one.target[y, x]], np.uint8)])
    prior = chance if rng.random() < 0.6 else one.prior
    return replace(one, kind="error", points=points, labels=marks, prior=prior)
