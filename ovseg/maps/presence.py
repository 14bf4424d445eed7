"""Is a text in the picture at all? From similarities as they are: a min-max map always reaches 1."""

from __future__ import annotations

import math

import numpy as np

BORDER = -6.0
"""log(p_place · p_image) where presence and absence are called equally likely. Chance among 33 texts is
-7.0. Measured with the embedded model (tools/interactive.py): the border that errs least on the mean of
scenes, msrc_v2, camvid and coco_things_val."""
WIDTH = 1.2
_PLACES = 0.02  # share of the patches that speak for a text: its best


def presence(
    patches: np.ndarray, image: float, rival_patches: np.ndarray, rival_images: np.ndarray, scale: float
) -> float:
    """0..1, 0.5 where presence and absence are called equally likely.

    All similarities are F·(F_t − F_empty), so that 0 stands for the empty string: ``patches`` (N,)
    and ``image`` (of the class token) for the text, ``rival_patches`` (N, R) and ``rival_images``
    (R,) for the distractors. ``scale`` is the model's own logit scale. The text's probability among
    them all is taken at its best places and for the image as a whole.
    """
    place = probability(patches, rival_patches, scale)
    best = np.sort(place)[-max(1, round(_PLACES * len(place))) :].mean()
    whole = probability(np.array([image]), rival_images[None], scale)[0]
    score = math.log(max(float(best * whole), 1e-300))
    return 1 / (1 + math.exp(-(score - BORDER) / WIDTH))


def probability(text: np.ndarray, rivals: np.ndarray, scale: float) -> np.ndarray:
    """(N,) and (N, R) similarities to (N,): softmax of ``scale`` times them, the empty string being 0."""
    return np.asarray(1 / (1 + np.exp(-scale * log_odds(text, rivals, scale))))


def log_odds(text: np.ndarray, rivals: np.ndarray, scale: float) -> np.ndarray:
    """(N,) log(p / (1 - p)) / ``scale`` of that probability: s - log(1 + Σ exp(scale · r)) / scale.

    In units of similarity; without rivals it is the similarity to the text itself.
    """
    others = np.concatenate([rivals, np.zeros((len(text), 1))], axis=1).astype(np.float64) * scale
    top = others.max(axis=1)
    return np.asarray(text - (top + np.log(np.exp(others - top[:, None]).sum(axis=1))) / scale)
