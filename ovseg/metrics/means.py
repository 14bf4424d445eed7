"""The mean that the paper's tables take: over the samples of each class and then over the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


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
