"""Scores of similarity maps against the mask of the label that they are for (the paper's Table 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.options.checks import check_choice

THRESHOLDS_PER = ("dataset", "class", "image")
"""The scope of one threshold: a data set, a class, or a single map."""


def score_contrast(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """mSC of one map (the paper's Eq. 12): its mean inside the mask minus its mean outside.

    Args:
        values: (H, W) in 0..1.
        mask: (H, W), True where the label is.

    Returns:
        In -1..1; NaN where the mask is empty or covers everything, because one of the two means is undefined.

    >>> score_contrast(np.array([[1.0, 0.25]]), np.array([[True, False]]))
    0.75
    """
    if mask.all() or not mask.any():
        return float("nan")
    return float(values[mask].mean() - values[~mask].mean())


def iou_at_thresholds(
    values: NDArray[np.floating], mask: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """IoU of a mask with the pixels of a map at or above each threshold, by two histograms.

    Args:
        values: (H, W) or (P,).
        mask: of the same shape, True where the label is.
        thresholds: (T,), ascending.

    Returns:
        (T,) in 0..1; NaN everywhere where the mask is empty, since there is nothing that could be found.

    >>> iou_at_thresholds(np.array([0.9, 0.6]), np.array([True, False]), np.array([0.5, 0.8]))
    array([0.5, 1. ])
    """
    count = int(mask.sum())
    if not count:
        return np.full(len(thresholds), np.nan)
    return _at_or_above(values[mask], thresholds) / (count + _at_or_above(values[~mask], thresholds))


def _at_or_above(values: NDArray[np.floating], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """(T,): how many of ``values`` are at or above each threshold."""
    counts, _ = np.histogram(values, [-np.inf, *thresholds, np.inf])
    return np.asarray(counts[::-1].cumsum()[::-1][1:], np.int64)


@dataclass(frozen=True)
class MapSample:
    """What one map of one label contributes to a score.

    Attributes:
        contrast: its mSC, in -1..1.
        overlap: (T,) its IoU at every threshold, in 0..1.
    """

    contrast: float
    overlap: NDArray[np.float64]


@dataclass
class MeanPerClass:
    """A mean over the samples of each class and then over the classes: "per positive label" in the paper.

    It keeps a sum and a count for each class, so its memory does not grow with the number of samples.

    Attributes:
        sums: for each class the sum of its samples.
        counts: for each class the number of its samples.

    >>> score = MeanPerClass()
    >>> for name, value in [("cat", 0.0), ("cat", 1.0), ("dog", 1.0)]:
    ...     score.update(name, value)
    >>> score.compute(), score.per_class()
    (0.75, {'cat': 0.5, 'dog': 1.0})
    """

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def update(self, name: str, value: float) -> None:
        """Add one sample; NaN stands for "not defined" and is left out."""
        if not math.isnan(value):
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
            self.counts[name] = self.counts.get(name, 0) + 1

    def merge(self, other: MeanPerClass) -> None:
        """Add the samples of ``other``."""
        for name, total in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + total
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]

    def per_class(self) -> dict[str, float]:
        """The mean of each class that has a sample, in the order in which the classes came."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def compute(self) -> float:
        """The mean; NaN without any sample."""
        means = self.per_class().values()
        return sum(means) / len(means) if means else math.nan


def score_map(
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
) -> MapSample | None:
    """mSC and the IoU at every threshold of one map.

    Args:
        values: (H, W) in 0..1.
        mask: (H, W), True where the label is.
        valid: (H, W), True for the pixels that count.
        thresholds: (T,), ascending.

    Returns:
        None where the mask is empty or covers all valid pixels: such a map has no contrast, and both scores
        are to be taken over the same samples.

    Raises:
        UsageError: the three arrays differ in shape, or the map holds NaN.
    """
    if not values.shape == mask.shape == valid.shape:
        shapes = f"{values.shape}, {mask.shape} and {valid.shape}"
        raise UsageError(f"expected a map, a mask and valid pixels of one shape, got {shapes}")
    values, mask = values[valid], mask[valid]
    if np.isnan(values).any():
        raise UsageError("expected a map without NaN, got one with NaN")
    if mask.all() or not mask.any():
        return None
    return MapSample(score_contrast(values, mask), iou_at_thresholds(values, mask, thresholds))


def default_thresholds() -> NDArray[np.float64]:
    """(49,): the grid that is searched for the best threshold, 0.02 to 0.98."""
    return np.linspace(0.02, 0.98, 49)


@dataclass
class PerLabelScore:
    """mSC and IoU of maps over a data set, one sample for each image and each label that is in it.

    Means are taken over the samples of a class first and over the classes afterwards. IoU takes a map's
    pixels at or above a threshold, and the best threshold of the grid is searched: one for the whole data
    set, one for each class, or one for each map. The paper says that the search is alike for all methods, but
    not which of the three it is. All of them are kept, so ``mean_iou`` answers for each.

    Memory does not grow with the number of samples: only sums are kept.

    Attributes:
        thresholds: (T,) in 0..1, ascending.
        per: what one threshold serves for, one of ``THRESHOLDS_PER``.
        contrast: the mean mSC of each class.
        best: the mean IoU of each class with a threshold for each map.
        overlap: for each class the sum of its samples' IoU at every threshold, (T,).
        left_out: samples that have no contrast, because their mask is empty or covers all valid pixels.

    >>> score = PerLabelScore()
    >>> mask = np.array([[True, False]])
    >>> score.update("dog", np.array([[0.9, 0.1]]), mask, np.ones_like(mask))
    >>> score.compute()
    {'mSC': 0.8, 'mIoU': 1.0}
    """

    thresholds: NDArray[np.float64] = field(default_factory=default_thresholds)
    per: str = "dataset"
    contrast: MeanPerClass = field(default_factory=MeanPerClass)
    best: MeanPerClass = field(default_factory=MeanPerClass)
    overlap: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    left_out: int = 0

    def __post_init__(self) -> None:
        check_choice("threshold per", self.per, THRESHOLDS_PER)

    def update(
        self,
        name: str,
        values: NDArray[np.floating],
        mask: NDArray[np.bool_],
        valid: NDArray[np.bool_],
    ) -> None:
        """Add one sample. One whose mask is empty or covers all valid pixels has no contrast and is left out.

        Args:
            name: the class.
            values: (H, W) in 0..1.
            mask: (H, W), True where the class is.
            valid: (H, W), True for the pixels that count.

        Raises:
            UsageError: the shapes differ, or the map holds NaN.
        """
        self.add(name, score_map(values, mask, valid, self.thresholds))

    def add(self, name: str, sample: MapSample | None) -> None:
        """Add what ``score_map`` found, None included."""
        if sample is None:
            self.left_out += 1
            return
        self.contrast.update(name, sample.contrast)
        self.best.update(name, float(sample.overlap.max()))
        self.overlap[name] = self.overlap.get(name, 0.0) + sample.overlap

    def merge(self, other: PerLabelScore) -> None:
        """Add the samples of ``other``. Raises UsageError where its thresholds differ."""
        if not np.array_equal(self.thresholds, other.thresholds):
            raise UsageError("expected a score with the same thresholds, got others")
        self.contrast.merge(other.contrast)
        self.best.merge(other.best)
        for name, total in other.overlap.items():
            self.overlap[name] = self.overlap.get(name, 0.0) + total
        self.left_out += other.left_out

    @property
    def samples(self) -> int:
        """How many samples were counted."""
        return sum(self.contrast.counts.values())

    def compute(self) -> dict[str, float]:
        """Both scores: "mSC" in -1..1, "mIoU" in 0..1; NaN without any sample."""
        return {"mSC": self.mean_contrast(), "mIoU": self.mean_iou()}

    def mean_contrast(self) -> float:
        """mSC in -1..1; NaN without any sample."""
        return self.contrast.compute()

    def mean_iou(self, per: str | None = None) -> float:
        """Mean IoU in 0..1 at the best threshold; NaN without any sample.

        Args:
            per: "dataset", "class" or "image"; None for the score's own.
        """
        per = self.per if per is None else per
        check_choice("threshold per", per, THRESHOLDS_PER)
        if not self.overlap:
            return float("nan")
        if per == "image":
            return self.best.compute()
        means = self._means()
        return float(means.max(axis=1).mean() if per == "class" else means.mean(axis=0).max())

    def best_threshold(self) -> float:
        """The threshold that is best for the whole data set, the lowest of several; NaN without a sample."""
        if not self.overlap:
            return float("nan")
        return float(self.thresholds[self._means().mean(axis=0).argmax()])

    def _means(self) -> NDArray[np.float64]:
        """(classes, T): the mean IoU of each class at every threshold."""
        return np.stack([total / self.contrast.counts[name] for name, total in self.overlap.items()])
