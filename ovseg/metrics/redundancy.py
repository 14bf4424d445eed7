"""How much of a text's map is there without any text (the paper's Fig. 6)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.metrics.means import MeanPerClass


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


@dataclass
class RedundancyScore:
    """Both distances over a data set: means over the samples of a class, then over the classes.

    Attributes:
        to_empty: the distances from the map of the empty string.
        to_zero: the distances from no activation.

    >>> score = RedundancyScore()
    >>> score.update("dog", 0.25, 0.5)
    >>> score.compute()
    {'to empty': 0.25, 'to zero': 0.5}
    """

    to_empty: MeanPerClass = field(default_factory=MeanPerClass)
    to_zero: MeanPerClass = field(default_factory=MeanPerClass)

    def update(self, name: str, to_empty: float, to_zero: float) -> None:
        """Add one sample of ``redundancy``."""
        self.to_empty.update(name, to_empty)
        self.to_zero.update(name, to_zero)

    def merge(self, other: RedundancyScore) -> None:
        """Add the samples of ``other``."""
        self.to_empty.merge(other.to_empty)
        self.to_zero.merge(other.to_zero)

    def compute(self) -> dict[str, float]:
        """Both means in 0..1; NaN without any sample."""
        return {"to empty": self.to_empty.compute(), "to zero": self.to_zero.compute()}
