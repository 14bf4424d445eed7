"""How likely a text is in an image, from similarities as they are.

A min-max normalised map cannot tell: it reaches 1 for every text, also for one that is not in the image.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.floating[Any]]"

BORDER = -6.0
"""log(p_place · p_image) where presence and absence are called equally likely. Chance among 33 texts is
-7.0. Measured with the embedded model (tools/interactive.py): the border that errs least on the mean of
scenes, msrc_v2, camvid and coco_things_val."""
WIDTH = 1.2
_PLACES = 0.02  # share of the patches that speak for a text: its best


def presence(
    patches: Floats, image: float, rival_patches: Floats, rival_images: Floats, scale: float
) -> float:
    """How likely a text is in an image, in 0..1; 0.5 where presence and absence are called equally likely.

    All similarities are F·(F_t − F_empty), so that 0 stands for the empty string. The text's probability
    among the distractors and the empty string is taken at its best places and for the image as a whole.

    Args:
        patches: (N,), the text's similarity at each place.
        image: its similarity with the class token.
        rival_patches: (N, R), those of the distractors at each place.
        rival_images: (R,), those of the distractors with the class token.
        scale: the model's own logit scale.
    """
    place = probability(patches, rival_patches, scale)
    best = np.sort(place)[-max(1, round(_PLACES * len(place))) :].mean()
    whole = probability(np.array([image]), rival_images[None], scale)[0]
    score = math.log(max(float(best * whole), 1e-300))
    return 1 / (1 + math.exp(-(score - BORDER) / WIDTH))


def probability(text: Floats, rivals: Floats, scale: float) -> Floats:
    """The softmax probability of a text among its rivals and the empty string, whose similarity is 0.

    Args:
        text: (N,) similarities.
        rivals: (N, R) similarities.
        scale: the factor before the softmax.

    Returns:
        (N,) in 0..1.
    """
    return np.asarray(1 / (1 + np.exp(-scale * log_odds(text, rivals, scale))))


def log_odds(text: Floats, rivals: Floats, scale: float) -> Floats:
    """log(p / (1 - p)) / ``scale`` of that probability p, in units of similarity.

    It is s - log(1 + Σ exp(scale · r)) / scale for a similarity s with rivals r; without rivals it is s
    itself.

    Returns:
        (N,).
    """
    others = np.concatenate([rivals, np.zeros((len(text), 1))], axis=1).astype(np.float64) * scale
    top = others.max(axis=1)
    return np.asarray(text - (top + np.log(np.exp(others - top[:, None]).sum(axis=1))) / scale)
