"""Scores of texts for a whole image: recognition of several labels, and how likely a text is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ovseg.maps.similarity import label_set_surgery, score_weights

Floats: TypeAlias = "NDArray[np.floating[Any]]"

BORDER = -6.0
"""log(p_place · p_image) at which the presence is 0.5. Chance among 33 texts is
-7.0. Measured with the embedded model (tools/interactive.py): the border that errs least on the mean of
scenes, msrc_v2, camvid and coco_things_val with ``tiny``; with ``small`` the best borders are -5.6 (VOC),
-6.4 (MSRC), -5.8 (COCO things) and -4.4 (CamVid), see docs/results.md."""
WIDTH = 1.2
_PLACES = 0.02  # share of patches, the highest-scoring ones, that are averaged


def presences(
    places: Floats, images: Floats, place_levels: Floats, image_levels: Floats, scale: float
) -> Floats:
    """How likely texts with the same rivals are in an image; 0.5 is where presence and absence are equal.

    All similarities are F·(F_t − F_empty), so that 0 stands for the empty string. A text's probability among
    the rivals and the empty string is taken at its best places and for the image as a whole.

    Args:
        places: (N, T), each text's similarity at each place.
        images: (n, T), with the class token of the image or of each window; the best window counts.
        place_levels: (N,), ``level`` of the rivals at each place.
        image_levels: (n,), ``level`` of the rivals with each class token.
        scale: the model's own logit scale.

    Returns:
        (T,) in 0..1.
    """
    at_places = _sigmoid(scale * (places - place_levels[:, None]))
    best = np.sort(at_places, axis=0)[-max(1, round(_PLACES * len(places))) :].mean(axis=0)
    whole = _sigmoid(scale * (images - image_levels[:, None])).max(axis=0)
    scores = np.log(np.maximum(best * whole, 1e-300))
    return _sigmoid((scores - BORDER) / WIDTH)


def sigmoid_presences(images: Floats, scale: float, bias: float) -> Floats:
    """How likely texts are in an image, by a model that was trained to say it (SigLIP, Zhai et al., 2023).

    p = σ(scale · cos + bias) needs no rivals and no border: the loss is that of a yes or no for each pair of
    image and text.

    Args:
        images: (n, T), cosines with the class token of the image or of each window; the best window counts.
        scale: the model's own logit scale.
        bias: its logit bias.

    Returns:
        (T,) in 0..1.
    """
    return _sigmoid(scale * images.max(axis=0) + bias)


def level(rivals: Floats, scale: float) -> Floats:
    """log(1 + Σ exp(scale · r)) / ``scale`` at each place: what a text has to reach for even odds.

    A similarity s less the level is log(p / (1 - p)) / ``scale`` for the text's probability p in a softmax
    over the text, its rivals r and the empty string, whose similarity is 0. Without rivals the level is 0.

    Args:
        rivals: (N, R) similarities.
        scale: the factor before the softmax.

    Returns:
        (N,).
    """
    others = np.concatenate([rivals, np.zeros((len(rivals), 1))], axis=1).astype(np.float64) * scale
    top = others.max(axis=1)
    return np.asarray((top + np.log(np.exp(others - top[:, None]).sum(axis=1))) / scale)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)))


def recognizer(
    text: Tensor, surgery: str = "none", empty: Tensor | None = None, softmax_scale: float | None = None
) -> Callable[[Tensor], Tensor]:
    """Feature surgery with the class token in the place of the patches, for one batch after the other.

    What depends on the texts alone is computed once. Of an image there is one product of its class token with
    the texts, (B, D) by (D, K): nothing of the size of texts times channels, however many texts there are.

    The paper's form subtracts one number from all texts of an image. So it changes the ranking of images for
    a text, which is what mean average precision measures, and never the ranking of texts for an image.

    Args:
        text: (K, D).
        surgery: one of ``ovseg.options.SURGERIES``; "none" for plain cosines.
        empty: (1, D), the feature of the empty string; needed by "empty" alone.
        softmax_scale: also take the softmax over the texts at this scale; CLIP's own way with "none".

    Returns:
        A function from class tokens (B, D) to scores (B, K).

    Raises:
        UsageError: from the function, for the surgeries over a set of texts where there is one text.

    >>> import torch
    >>> score = recognizer(torch.eye(2))
    >>> score(torch.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    compared = F.normalize(text, dim=-1)
    if surgery == "empty":
        assert empty is not None
        compared = compared - F.normalize(empty, dim=-1)

    def score(class_token: Tensor) -> Tensor:
        scores = F.normalize(class_token, dim=-1) @ compared.T
        if surgery in ("label_set", "label_set_code"):
            scores = label_set_surgery(scores[:, None], score_weights(scores), surgery)[:, 0]
        return scores if softmax_scale is None else (softmax_scale * scores).softmax(dim=-1)

    return score
