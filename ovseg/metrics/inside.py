"""Figs 4, 5 and 6 of the paper: attention on the foreground, affinity of modules, redundancy of maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.metrics.maps import MeanPerClass


def cell_shares(mask: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float64]:
    """The pixels of a mask in each cell of a grid that is laid over it; a pixel on a border is divided.

    Args:
        mask: (H, W).
        grid: (h, w).

    Returns:
        (h, w), areas in pixels; their sum is the area of the mask.

    >>> cell_shares(np.array([[True, True, False]]), (1, 2))
    array([[1.5, 0.5]])
    """
    rows, columns = (_overlaps(*pair) for pair in zip(mask.shape, grid, strict=True))
    return rows @ mask.astype(np.float64) @ columns.T


def _overlaps(pixels: int, cells: int) -> NDArray[np.float64]:
    """(cells, pixels): the length that each pixel has in each of the equal cells along one side."""
    edges = np.arange(cells + 1) * pixels / cells
    start = np.arange(pixels)
    return np.clip(np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start), 0, None)


def foreground_share(
    attention: NDArray[np.floating], mask: NDArray[np.bool_], valid: NDArray[np.bool_] | None = None
) -> float:
    """FSR of one map of attention: the share of it that lies on the foreground (the paper's Eq. 4).

    A place's attention is spread evenly over its cell of the image.

    Args:
        attention: (h, w) on the token grid, 0 and above: of one token, the mean of the heads.
        mask: (H, W), True on the foreground.
        valid: (H, W), True for the pixels that count; None for all.

    Returns:
        In 0..1; NaN where no attention lies on pixels that count.

    >>> foreground_share(np.array([[0.75, 0.25]]), np.array([[True, True, True, False]]))
    0.875
    """
    valid = np.ones(mask.shape, bool) if valid is None else valid
    grid = (attention.shape[0], attention.shape[1])
    everywhere, inside = (
        float((attention * cell_shares(pixels, grid)).sum()) for pixels in (valid, mask & valid)
    )
    return inside / everywhere if everywhere > 0 else float("nan")


@dataclass
class ForegroundScore:
    """mFSR over a data set, and the share of samples above each threshold (the paper's Fig. 4b).

    Attributes:
        thresholds: (T,) in 0..1, ascending.
        shares: the mean over samples, then over classes.
        above: (T,) the number of samples whose share is above each threshold.

    >>> score = ForegroundScore(np.array([0.5]))
    >>> score.update("dog", 0.25)
    >>> score.update("cat", 0.75)
    >>> score.compute(), score.curve().tolist()
    (0.5, [0.5])
    """

    thresholds: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0, 1, 101))
    shares: MeanPerClass = field(default_factory=MeanPerClass)
    above: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.above = np.zeros(len(self.thresholds), np.int64)

    def update(self, name: str, share: float) -> None:
        """Add one sample of ``foreground_share``; NaN is left out."""
        if not np.isnan(share):
            self.shares.update(name, share)
            self.above += share > self.thresholds

    def merge(self, other: ForegroundScore) -> None:
        """Add the samples of ``other``. Raises UsageError where its thresholds differ."""
        if not np.array_equal(self.thresholds, other.thresholds):
            raise UsageError("expected a score with the same thresholds, got different ones")
        self.shares.merge(other.shares)
        self.above += other.above

    def compute(self) -> float:
        """mFSR in 0..1; NaN without any sample."""
        return self.shares.compute()

    def curve(self) -> NDArray[np.float64]:
        """(T,): the share of samples above each threshold, in 0..1; NaN without any sample."""
        count = sum(self.shares.counts.values())
        return self.above / count if count else np.full(len(self.thresholds), np.nan)


def affinity(features: NDArray[np.floating], text: NDArray[np.floating]) -> NDArray[np.float64]:
    """The mean cosine of each feature with several texts (the paper's Eq. 5).

    Args:
        features: (M, D), what each module of a model gives for its class token, projected like the output.
        text: (K, D), the texts.

    Returns:
        (M,) in -1..1; NaN where there is no text, and for a feature of length 0.

    >>> affinity(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    if not len(text):
        return np.full(len(features), np.nan)
    lengths = np.linalg.norm(features, axis=1)
    units = np.divide(
        features, lengths[:, None], out=np.full(features.shape, np.nan), where=lengths[:, None] > 0
    )
    return np.asarray(
        (units @ (text / np.linalg.norm(text, axis=1, keepdims=True)).T).mean(axis=1), np.float64
    )


def redundancy(values: NDArray[np.floating], empty: NDArray[np.floating]) -> tuple[float, float]:
    """The L1 distance of a text's map from the map of the empty string, and from no activation at all.

    Args:
        values: (h, w), the map of a text that is in the image, in 0..1.
        empty: (h, w), the map of the empty string, in 0..1.

    Returns:
        Mean absolute differences, each in 0..1. A first that is much smaller than the second says that most
        of the map does not belong to the text.

    Raises:
        UsageError: the shapes differ.

    >>> redundancy(np.array([0.75, 0.25]), np.array([0.5, 0.0]))
    (0.25, 0.5)
    """
    if values.shape != empty.shape:
        raise UsageError(f"expected two maps of one shape, got {values.shape} and {empty.shape}")
    return float(np.abs(values - empty).mean()), float(np.abs(values).mean())
