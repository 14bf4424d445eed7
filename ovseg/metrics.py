"""Scores of maps and label maps: functions of arrays, and the small accumulators over them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

VOID = 255


def confusion(labels: np.ndarray, truth: np.ndarray, classes: int, void: int = VOID) -> np.ndarray:
    """(K+1, K) int64: rows are the truth's classes, columns the predictions; row K is never filled.

    Pixels whose truth is ``void`` do not count; a prediction outside the classes counts as wrong,
    in the last row's stead: it is a miss of the true class and a hit of none.
    """
    valid = truth != void
    t, p = truth[valid].astype(np.int64), labels[valid].astype(np.int64)
    if t.size and t.max() >= classes:
        raise ValueError(f"wanted truth below {classes} or {void}, got {t.max()}")
    p = np.minimum(p, classes)  # column `classes`: void predictions
    return np.bincount(t * (classes + 1) + p, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (K,) in 0..1; NaN for a class in neither truth nor prediction."""
    hit = np.diag(matrix[:, : len(matrix)]).astype(float)
    union = matrix.sum(axis=1) + matrix[:, : len(matrix)].sum(axis=0) - hit
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


@dataclass
class SegmentationScore:
    """mIoU over a data set: every pixel of every image in one confusion matrix."""

    classes: int
    matrix: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.classes, self.classes + 1), np.int64)

    def update(self, labels: np.ndarray, truth: np.ndarray) -> None:
        self.matrix += confusion(labels, truth, self.classes)

    def mean_iou(self) -> float:
        """In 0..1, over the classes that occur in truth or prediction."""
        return float(np.nanmean(iou_per_class(self.matrix)))


def score_contrast(values: np.ndarray, mask: np.ndarray) -> float:
    """mSC of one map (Eq. 12): mean of ``values`` (0..1) on the mask minus mean off it, in -1..1."""
    return float(values[mask].mean() - values[~mask].mean())


@dataclass
class PerLabelScore:
    """mSC, and IoU per positive label with one threshold for all, found by grid search (Table 1).

    Samples are (image, label that is in it); means go over samples, then over classes.
    """

    thresholds: np.ndarray = field(default_factory=lambda: np.linspace(0.02, 0.98, 49))
    contrast: dict[str, list[float]] = field(default_factory=dict)
    overlap: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def update(self, name: str, values: np.ndarray, mask: np.ndarray, valid: np.ndarray) -> None:
        """``values`` (H, W) in 0..1, ``mask`` where the label is, ``valid`` pixels that count."""
        values, mask = values[valid], mask[valid]
        if mask.all() or not mask.any():
            return  # no contrast is defined
        self.contrast.setdefault(name, []).append(score_contrast(values, mask))
        edges = [-np.inf, *self.thresholds, np.inf]
        inside = np.histogram(values[mask], edges)[0][::-1].cumsum()[::-1][1:]  # mask pixels >= threshold
        outside = np.histogram(values[~mask], edges)[0][::-1].cumsum()[::-1][1:]
        self.overlap.setdefault(name, []).append(inside / (mask.sum() + outside))

    def mean_contrast(self) -> float:
        return float(np.mean([np.mean(samples) for samples in self.contrast.values()]))

    def mean_iou(self) -> float:
        """At the one threshold that is best for the whole set."""
        per_class = [np.mean(samples, axis=0) for samples in self.overlap.values()]
        return float(np.mean(per_class, axis=0).max())


def point_accuracy(xy: np.ndarray, labels: np.ndarray, mask: np.ndarray, valid: np.ndarray) -> float:
    """The share of points on the right side (paper, Fig. 10): 1 on ``mask`` (H, W), 0 beside it.

    ``xy`` (P, 2) pixels, ``labels`` (P,). Points on pixels that do not count are left out; NaN without any.
    """
    x, y = xy.astype(int).T
    counts = valid[y, x]
    return float((mask[y, x] == (labels == 1))[counts].mean()) if counts.any() else float("nan")


@dataclass
class MeanPerClass:
    """A mean over samples, then over classes: what "per positive label" means in the paper's tables."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def update(self, name: str, value: float) -> None:
        """NaN is no sample."""
        if not np.isnan(value):
            self.values.setdefault(name, []).append(value)

    def mean(self) -> float:
        """NaN without any sample."""
        return float(np.mean([np.mean(v) for v in self.values.values()])) if self.values else float("nan")


def mask_iou(mask: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Intersection over union of two (H, W) bool masks on the pixels that count; 0 where both are empty."""
    if valid is not None:
        mask, truth = mask & valid, truth & valid
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 0.0
