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


def meant(
    texts: Sequence[str],
    rivals: Sequence[str],
    text_features: NDArray[np.floating[Any]],
    rival_features: NDArray[np.floating[Any]],
) -> set[str]:
    """The rivals, folded, that share a word with the texts of a name or are too much like one of them.

    Args:
        texts: T texts of one name ("brown dog").
        rivals: R everyday words.
        text_features: (T, D), L2-normalised.
        rival_features: (R, D), L2-normalised.

    >>> features = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.8, 0.6]])  # car, grass, plant
    >>> meant(["lawn"], ["Car", "Grass", "Plant"], np.array([[0.0, 0.99, -0.1]]), features)
    {'grass'}
    >>> meant(["red cars"], ["Car", "Grass", "Plant"], np.array([[0.0, 0.0, 1.0]]), features)
    {'car'}
    """
    likeness = (text_features @ rival_features.T).max(axis=0)
    pairs = (rival_features @ rival_features.T)[np.triu_indices(len(rivals), 1)]
    bar = np.quantile(pairs, ALIKE) if pairs.size else np.inf
    return {
        fold(rival)
        for rival, like in zip(rivals, likeness, strict=True)
        if like > bar or any(shares_word(rival, text) for text in texts)
    }
