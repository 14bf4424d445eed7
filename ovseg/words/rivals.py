"""Which everyday words mean a text, or a part of it, and so cannot compete with it.

"lawn" and "grass" claim the same places, so that neither would be found where the other is its rival.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg.words.names import fold, shares_word

ALIKE = 0.99
"""A rival means the text if it is nearer to it than this share of all pairs of rivals are to each other. A
share, because cosines of different models have different thresholds. Chosen on train parts of VOC and MSRC:
synonyms gain 9 to 12 points of IoU, absent words are found half a point more often; below, these are too."""


def likeness_of_rivals(features: NDArray[np.floating[Any]]) -> float:
    """The cosine that the share ``ALIKE`` of all pairs of rivals (R, D), L2-normalised, do not exceed."""
    pairs = (features @ features.T)[np.triu_indices(len(features), 1)]
    return float(np.quantile(pairs, ALIKE)) if pairs.size else np.inf


def meant(
    texts: Sequence[str], rivals: Sequence[str], likeness: NDArray[np.floating[Any]], bar: float
) -> set[str]:
    """The rivals, folded, that share a word with the texts of a name or are too much like one of them.

    Args:
        texts: T texts of one name ("brown dog").
        rivals: R everyday words.
        likeness: (T, R), the cosine of each text with each rival.
        bar: ``likeness_of_rivals``.

    >>> rivals = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.8, 0.6]])  # car, grass, plant
    >>> texts, bar = np.array([[0.0, 0.99, -0.1], [0.0, 0.0, 1.0]]), likeness_of_rivals(rivals)
    >>> meant(["lawn"], ["Car", "Grass", "Plant"], texts[:1] @ rivals.T, bar)
    {'grass'}
    >>> meant(["red cars"], ["Car", "Grass", "Plant"], texts[1:] @ rivals.T, bar)
    {'car'}
    """
    return {
        fold(rival)
        for rival, like in zip(rivals, likeness.max(axis=0), strict=True)
        if like > bar or any(shares_word(rival, text) for text in texts)
    }
