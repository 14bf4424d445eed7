"""Maps and masks as shapes: what lies inside, its bounds, how well one fits the other, what is a speck."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ovseg.text_to_mask.results import Box, Click


def inside(region: np.ndarray, threshold: float) -> np.ndarray:
    """(h, w) bool, never empty: the peak of a map that was shrunk to a small image may lie below."""
    return np.asarray(region >= min(threshold, float(region.max())))


def centred(region: np.ndarray, threshold: float) -> np.ndarray:
    """0..1 with the threshold at 0.5, as ``Segmenter.prior`` wants it."""
    below = 0.5 * region / max(threshold, 1e-6)
    above = 0.5 + 0.5 * (region - threshold) / max(1 - threshold, 1e-6)
    return np.where(region < threshold, below, above)


def bounds(region: np.ndarray, size: tuple[int, int]) -> Box:
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    sy, sx = size[0] / region.shape[0], size[1] / region.shape[1]
    return (columns[0] * sx, rows[0] * sy, (columns[-1] + 1) * sx, (rows[-1] + 1) * sy)


def tidy(mask: np.ndarray, share: float, clicks: Sequence[Click] = ()) -> np.ndarray:
    """(H, W) bool without specks and holes of less than ``share`` of its pixels.

    The largest part stays, and what was clicked: a speck as foreground, a hole as background.
    """
    if share <= 0 or not mask.any():
        return mask
    limit = share * mask.sum()
    out = mask
    for value in (True, False):  # specks, then holes
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (out == value).astype(np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        small = (areas < limit) & (np.arange(count) > 0)
        if value and count > 1:
            small[int(areas.argmax())] = False
        for x, y, foreground in clicks:
            if foreground == value:
                small[labels[int(y), int(x)]] = False
        out = np.where(small[labels], not value, out)
    return np.asarray(out, bool)


def expected_iou(mask: np.ndarray, region: np.ndarray) -> float:
    """0..1: the IoU of a mask (H, W) with what a map (h, w) in 0..1 says, Σ mp / Σ (m + p - mp).

    p, the chance that a place belongs to the object, is the map squared: a map that was stretched to
    0..1 promises too much. Unlike the IoU at a threshold this knows that a doubtful place may be left out.
    """
    size = (region.shape[1], region.shape[0])
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    chance = region**2
    both = float((covered * chance).sum())
    return both / max(float(covered.sum() + chance.sum()) - both, 1e-6)


def objects(mask: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """A mask (H, W) as its connected parts, the largest first: those on which a point (x, y) lies.

    The others go with the largest, so that nothing is lost.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    pointed = {int(labels[int(y), int(x)]) for x, y in points} - {0}
    if len(pointed) < 2:
        return [mask]
    found = [labels == k for k in sorted(pointed, key=lambda k: -stats[k, cv2.CC_STAT_AREA])]
    found[0] |= mask & ~np.any(found, axis=0)
    return found
