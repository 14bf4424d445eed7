"""What texts score in one image; from it, the map of each text and how likely the text is in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ovseg.maps.presence import level, presences, sigmoid_presences
from ovseg.maps.similarity import empty_text_surgery
from ovseg.results.types import ImageFeatures


@dataclass(frozen=True, eq=False)
class TextScores:
    """Similarities of T texts with one image, float64.

    Attributes:
        places: (N, T), after empty-string surgery, at each place.
        images: (n, T), after empty-string surgery, with the class token of the image or of each window.
        cosines: (n, T), the same without surgery.
    """

    places: NDArray[np.float64]
    images: NDArray[np.float64]
    cosines: NDArray[np.float64]

    @classmethod
    def of(cls, features: ImageFeatures, text: Tensor | None, empty: Tensor) -> TextScores:
        """The similarities of an image with texts.

        Args:
            features: the image.
            text: (T, D) unit features; None for no text.
            empty: (1, D), the unit feature of the empty string.
        """
        places, tokens = features.places, features.class_tokens
        if text is None:
            return cls(np.zeros((len(places), 0)), *np.zeros((2, len(tokens), 0)))
        products = (
            empty_text_surgery(places, text, empty),
            empty_text_surgery(tokens, text, empty),
            tokens @ text.T,
        )
        return cls(*(product.cpu().numpy().astype(np.float64) for product in products))

    def of_texts(self, wanted: Sequence[int]) -> TextScores:
        """The similarities of some of the texts, by their indices."""
        index = np.asarray(wanted, np.intp)
        return TextScores(self.places[:, index], self.images[:, index], self.cosines[:, index])


def maps_and_presences(
    own: TextScores, rivals: TextScores, rule: str, scale: float, bias: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The maps that points are taken from, and how likely each text is in the image.

    Under the rule "components" the maps are log odds against the rivals, so that a place which another word
    fits better is no place for a point. A text is as present as in the window whose class token speaks most
    for it. A model that was trained with a sigmoid gives its own probability; for every other model,
    presence is measured against the rivals.

    Args:
        own: the similarities of T texts.
        rivals: those of the words that they are compared with.
        rule: "components" or "paper".
        scale: the model's own logit scale.
        bias: its logit bias; None for a model that was not trained with a sigmoid.

    Returns:
        (N, T) maps in units of similarity, and (T,) presences in 0..1.
    """
    at_places = level(rivals.places, scale)
    maps = own.places - at_places[:, None] if rule == "components" else own.places
    if bias is not None:
        return maps, sigmoid_presences(own.cosines, scale, bias).astype(np.float64)
    shares = presences(own.places, own.images, at_places, level(rivals.images, scale), scale)
    return maps, shares.astype(np.float64)
