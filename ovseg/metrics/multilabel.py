"""Mean average precision of scores for several labels at once (the paper's Table 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError

NOT_COUNTED = -1
"""In a truth: unknown whether the label is in the image."""


def average_precision(scores: NDArray[np.floating], truth: NDArray[np.integer] | NDArray[np.bool_]) -> float:
    """The mean of the precision at the rank of every positive, as scikit-learn defines it.

    Images with one score share one rank, the last of theirs, so the result does not depend on their order.

    Args:
        scores: (N,), higher where the label is more likely.
        truth: (N,) 1 where the label is in the image, 0 where not, ``NOT_COUNTED`` where it is not known.

    Returns:
        In 0..1; NaN where no image has the label.

    Raises:
        UsageError: the shapes differ, or a score is NaN.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))
    0.8333333333333333
    """
    if scores.shape != truth.shape or scores.ndim != 1:
        raise UsageError(
            f"expected scores and truth (N,) of one length, got {scores.shape} and {truth.shape}"
        )
    truth = truth.astype(np.int64)
    scores, positive = scores[truth != NOT_COUNTED], truth[truth != NOT_COUNTED] == 1
    if np.isnan(scores).any():
        raise UsageError("expected scores without NaN, got NaN")
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last place of each distinct score
    hits = positive[order].cumsum()[last]
    gained = np.diff(hits, prepend=0)
    return float((gained * hits / (last + 1)).sum() / positive.sum())


@dataclass
class MultiLabelScore:
    """mAP over a data set: average precision of each label over all images, then the mean over the labels.

    Average precision is a property of the ranking of all images, so the scores are kept: 5 bytes for each
    label and image (44 MB for NUS-WIDE's 107,859 test images with 81 labels).

    Attributes:
        names: the K labels.

    >>> score = MultiLabelScore(("dog", "sky"))
    >>> score.update(np.array([0.9, 0.1]), np.array([1, 0]))
    >>> score.update(np.array([0.2, 0.3]), np.array([0, 1]))
    >>> score.compute()
    1.0
    """

    names: Sequence[str]
    _scores: NDArray[np.float32] = field(init=False, repr=False)
    _truth: NDArray[np.int8] = field(init=False, repr=False)
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError("expected at least one label, got none")
        self._scores = np.empty((64, len(self.names)), np.float32)
        self._truth = np.empty((64, len(self.names)), np.int8)

    def __len__(self) -> int:
        return self._count

    def update(self, scores: NDArray[np.floating], truth: NDArray[np.integer] | NDArray[np.bool_]) -> None:
        """Add one image (K,) or several (B, K): scores, and 1, 0 or ``NOT_COUNTED`` for each label.

        Raises:
            UsageError: a shape is another one, a score is NaN, or a truth is none of the three.
        """
        scores, truth = np.atleast_2d(scores), np.atleast_2d(truth).astype(np.int8)
        if scores.shape != truth.shape or scores.shape[1] != len(self.names):
            raise UsageError(
                f"expected scores and truth for {len(self.names)} labels, got {scores.shape} and {truth.shape}"
            )
        if np.isnan(scores).any():
            raise UsageError("expected scores without NaN, got NaN")
        if not np.isin(truth, (0, 1, NOT_COUNTED)).all():
            raise UsageError(f"expected a truth of 1, 0 or {NOT_COUNTED}, got {np.unique(truth).tolist()}")
        needed = self._count + len(scores)
        if needed > len(self._scores):
            room = max(needed, 2 * len(self._scores)) - len(self._scores)
            self._scores = np.pad(self._scores, ((0, room), (0, 0)))
            self._truth = np.pad(self._truth, ((0, room), (0, 0)))
        self._scores[self._count : needed], self._truth[self._count : needed] = scores, truth
        self._count = needed

    def merge(self, other: MultiLabelScore) -> None:
        """Add the images of ``other``. Raises UsageError where its labels differ."""
        if tuple(self.names) != tuple(other.names):
            raise UsageError("expected a score of the same labels, got different ones")
        if len(other):
            self.update(other._scores[: other._count], other._truth[: other._count])

    def per_class(self) -> dict[str, float]:
        """The average precision of each label; NaN for one that no image has."""
        scores, truth = self._scores[: self._count], self._truth[: self._count]
        return {name: average_precision(scores[:, k], truth[:, k]) for k, name in enumerate(self.names)}

    def compute(self) -> float:
        """mAP in 0..1 over the labels that some image has; NaN where no image has any."""
        found = [value for value in self.per_class().values() if not np.isnan(value)]
        return float(np.mean(found)) if found else float("nan")
