"""Whether a map depends on what the model has learned (Adebayo et al., "Sanity Checks", NeurIPS 2018).

The blocks of a model are given random weights one after the other, from its output down. A map that stays as
it was does not show what the model knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.metrics.means import MeanPerClass


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


@dataclass
class RandomisationScore:
    """The mean rank correlation with the untouched model's map, for each number of random blocks.

    Attributes:
        means: the mean of each stage over the samples.

    >>> score = RandomisationScore()
    >>> score.update("1 block", 0.5)
    >>> score.update("2 blocks", 0.25)
    >>> score.compute()
    {'1 block': 0.5, '2 blocks': 0.25}
    """

    means: MeanPerClass = field(default_factory=MeanPerClass)

    def update(self, stage: str, correlation: float) -> None:
        """Add one sample of ``rank_correlation``; NaN is left out."""
        self.means.update(stage, correlation)

    def merge(self, other: RandomisationScore) -> None:
        """Add the samples of ``other``."""
        self.means.merge(other.means)

    def compute(self) -> dict[str, float]:
        """The mean of each stage, in the order in which the stages came."""
        return self.means.per_class()
