"""Scores of similarity maps against the mask of the label that they are for (the paper's Table 1)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError


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


def _thresholds() -> NDArray[np.float64]:
    return np.linspace(0.02, 0.98, 49)


@dataclass
class PerLabelScore:
    """mSC and IoU of maps over a data set, one sample for each image and each label that is in it.

    Means are taken over the samples of a class first and over the classes afterwards. IoU takes a map's
    pixels at or above a threshold, and one threshold serves for the whole data set: the best of
    ``thresholds``.

    Attributes:
        thresholds: (T,) in 0..1, ascending.
        contrast: for each class the mSC of its samples, in -1..1.
        overlap: for each class the IoU of its samples at every threshold, (T,) each in 0..1.

    >>> score = PerLabelScore()
    >>> mask = np.array([[True, False]])
    >>> score.update("dog", np.array([[0.9, 0.1]]), mask, np.ones_like(mask))
    >>> score.compute()
    {'mSC': 0.8, 'mIoU': 1.0}
    """

    thresholds: NDArray[np.float64] = field(default_factory=_thresholds)
    contrast: dict[str, list[float]] = field(default_factory=dict)
    overlap: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

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
        """
        values, mask = values[valid], mask[valid]
        if mask.all() or not mask.any():
            return
        self.contrast.setdefault(name, []).append(score_contrast(values, mask))
        inside = self._at_or_above(values[mask])
        outside = self._at_or_above(values[~mask])
        self.overlap.setdefault(name, []).append(inside / (mask.sum() + outside))

    def merge(self, other: PerLabelScore) -> None:
        """Add the samples of ``other``. Raises UsageError where its thresholds differ."""
        if not np.array_equal(self.thresholds, other.thresholds):
            raise UsageError("wanted a score with the same thresholds, got others")
        for name, samples in other.contrast.items():
            self.contrast.setdefault(name, []).extend(samples)
            self.overlap.setdefault(name, []).extend(other.overlap[name])

    def compute(self) -> dict[str, float]:
        """Both scores: "mSC" in -1..1, "mIoU" in 0..1; NaN without any sample."""
        return {"mSC": self.mean_contrast(), "mIoU": self.mean_iou()}

    def mean_contrast(self) -> float:
        """mSC in -1..1; NaN without any sample."""
        means = [float(np.mean(samples)) for samples in self.contrast.values()]
        return float(np.mean(means)) if means else float("nan")

    def mean_iou(self) -> float:
        """Mean IoU in 0..1 at the threshold that is best for the whole set; NaN without any sample."""
        per_class = [np.mean(samples, axis=0) for samples in self.overlap.values()]
        return float(np.mean(per_class, axis=0).max()) if per_class else float("nan")

    def _at_or_above(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """(T,): how many of ``values`` are at or above each threshold."""
        counts, _ = np.histogram(values, [-np.inf, *self.thresholds, np.inf])
        return np.asarray(counts[::-1].cumsum()[::-1][1:], np.int64)
