"""Faithfulness of a map: deletion and insertion, and its rank correlation after random weights.

Deletion and insertion (Petsiuk et al., RISE, BMVC 2018): a map that is true to the model makes the score fall
early as its highest pixels are deleted (a small area under the curve), and rise early as they are inserted (a
large one). Random weights (Adebayo et al., "Sanity Checks", NeurIPS 2018): a map that keeps its ranks as the
model's blocks are randomised, from the output down, does not show what the model knows.
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
"""Fill values for deleted pixels: the image's mean colour, random colours, or the
blurred image."""
BLUR = 0.05
"""The standard deviation of the blur as a share of the image's short side."""

Picture: TypeAlias = "NDArray[np.uint8]"
"""(H, W, 3) RGB."""
Scores: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""(B, H, W, 3) images to (B,) scores of the text that the map is for."""


def base_image(image: Picture, base: str, seed: int = 0) -> Picture:
    """The baseline image without content, (H, W, 3) uint8; ``base`` is one of ``BASES``."""
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
        steps: the number of equal parts in which pixels change.
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


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's correlation of two maps: Pearson's of their ranks, equal values sharing a mean rank.

    Args:
        one, other: maps of one shape.

    Returns:
        In -1..1; NaN where one of them is constant.

    Raises:
        UsageError: the shapes differ.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 4.0, 5.0]))
    1.0
    """
    if one.shape != other.shape:
        raise UsageError(f"expected two maps of one shape, got {one.shape} and {other.shape}")
    first, second = _ranks(one), _ranks(other)
    lengths = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / lengths if lengths > 0 else float("nan")


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(P,) ranks less their mean."""
    _, owner, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks = (last - (counts - 1) / 2)[owner.ravel()]
    return np.asarray(ranks - ranks.mean(), np.float64)
