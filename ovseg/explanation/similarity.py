"""Similarities of places with texts as maps of an explanation: what the training-free methods are."""

from __future__ import annotations

import torch
from torch import Tensor

from ovseg.clip.attention import Method
from ovseg.clip.encoder import encode_image
from ovseg.errors import UsageError
from ovseg.explanation.subject import Subject, tower_visual
from ovseg.maps.similarity import apply_surgery, place_features, to_grid

OWN = {"clip_surgery": "empty", "clip_surgery_normalised": "empty"}
"""The feature surgery that belongs to a method; the other methods' papers compare places by cosine."""


def own_surgery(method: Method, surgery: str | None) -> str:
    """``surgery``, or for None what belongs to the method.

    >>> from ovseg.clip.attention import METHODS
    >>> own_surgery(METHODS["clip_surgery"], None), own_surgery(METHODS["gem"], None)
    ('empty', 'none')
    """
    return surgery or OWN.get(method.name, "none")


def similarity(subject: Subject, method: Method, surgery: str) -> Tensor:
    """The similarity of every place with every text, (K, h, w), as ``Model.similarity`` makes it."""
    if surgery == "empty" and subject.empty is None:
        raise UsageError("expected the feature of the empty text for surgery 'empty', got none")
    with torch.no_grad():
        tokens = encode_image(tower_visual(subject.tower), subject.pixels, method)
        features = place_features(tokens, method.class_token_weight)
        found = apply_surgery(features, tokens.class_token, subject.text, surgery, subject.empty)
    return to_grid(found, tokens.grid)[0]
