"""Deletion and insertion: how a score falls and rises as the pixels of a map's order go and come.

Petsiuk et al., RISE (BMVC 2018). A map that is true to the model makes the score fall early as its highest
pixels are deleted (a small area under the curve), and rise early as they are inserted (a large one).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.options.checks import check_choice, check_integer

MODES = ("deletion", "insertion")
BASES = ("mean", "random", "blur")
"""What stands in the place of a pixel that is not there: the image's mean colour, random colours, or the
blurred image."""
BLUR = 0.05
"""The standard deviation of the blur as a share of the image's short side."""

Picture: TypeAlias = "NDArray[np.uint8]"
"""(H, W, 3) RGB."""
Scores: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""(B, H, W, 3) images to (B,) scores of the text that the map is for."""


def base_image(image: Picture, base: str, seed: int = 0) -> Picture:
    """An image without what is to be explained, (H, W, 3) uint8; ``base`` is one of ``BASES``."""
    check_choice("base", base, BASES)
    if base == "mean":
        return np.broadcast_to(np.rint(image.mean(axis=(0, 1))), image.shape).astype(np.uint8)
    if base == "random":
        return np.random.default_rng(seed).integers(0, 256, image.shape, dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(1.0, BLUR * min(image.shape[:2]))))


def perturbation_curve(
    image: Picture,
    values: NDArray[np.floating],
    scores: Scores,
    mode: str = "deletion",
    *,
    base: str | None = None,
    steps: int = 20,
    batch: int = 16,
    seed: int = 0,
) -> NDArray[np.float64]:
    """The score as pixels are deleted, or inserted, from the highest of a map to the lowest.

    Args:
        image: (H, W, 3) uint8 RGB.
        values: (H, W), the map. Equal values keep the order of rows: a constant map goes from the top down.
        scores: gives a score for each of several images.
        mode: "deletion" begins with the image and replaces pixels, "insertion" begins with the base.
        base: one of ``BASES``; None for "mean" in deletion and "blur" in insertion.
        steps: in how many equal parts the pixels go.
        batch: images in one call of ``scores``.
        seed: of the random colours.

    Returns:
        (steps + 1,) scores, from no pixel to all.

    Raises:
        UsageError: an argument is wrong, or ``scores`` gives another number of scores than images.
    """
    check_choice("mode", mode, MODES)
    check_integer("steps", steps, 1, 10_000)
    check_integer("batch", batch, 1, 4096)
    if values.shape != image.shape[:2]:
        raise UsageError(f"expected a map of the image's {image.shape[:2]} pixels, got {values.shape}")
    other = base_image(image, base or ("mean" if mode == "deletion" else "blur"), seed)
    before, after = (image, other) if mode == "deletion" else (other, image)
    order = np.argsort(-values.ravel(), kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    rank = rank.reshape(values.shape)[..., None]
    found: list[NDArray[np.floating]] = []
    for start in range(0, steps + 1, batch):
        counts = [round(order.size * step / steps) for step in range(start, min(start + batch, steps + 1))]
        pictures = np.stack([np.where(rank < count, after, before) for count in counts])
        part = np.asarray(scores(pictures))
        if part.shape != (len(counts),):
            raise UsageError(f"expected a score for each of {len(counts)} images, got {part.shape}")
        found.append(part)
    return np.concatenate(found).astype(np.float64)


def area_under(curve: NDArray[np.floating]) -> float:
    """The area under a curve over equal steps from 0 to 1, by trapezoids.

    >>> area_under(np.array([1.0, 0.5, 0.0]))
    0.5
    """
    if len(curve) < 2:
        raise UsageError(f"expected a curve of at least two points, got {len(curve)}")
    return float((curve[1:] + curve[:-1]).sum() / 2 / (len(curve) - 1))
