"""ovseg's own masks, by the models that the server has: what Label Studio's answers are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import ovseg
from ovseg.annotation.classes import read_classes
from ovseg.annotation.finder import MaskFinder
from ovseg.masks import TextMasks
from ovseg.options import AnnotateOptions
from ovseg.words.vocabulary import Names

Found = list[tuple[str, NDArray[np.bool_]]]
"""Labels and masks (H, W) of one picture."""


class Own:
    """The masks of ``ovseg annotate`` and of ``ovseg.TextToMask``.

    Args:
        model, weights: as for ``ovseg.load_model``.
        segmenter: as for ``ovseg.load_segmenter``.
    """

    def __init__(self, model: str, weights: str | None, segmenter: str) -> None:
        self._model = ovseg.load_model(model, weights)
        self._segmenter = ovseg.load_segmenter(segmenter)
        self._prompted = ovseg.TextToMask(self._model, self._segmenter)

    def words(self, picture: NDArray[np.uint8], words: Names) -> Found:
        """The objects of some words, or of labels and their texts."""
        finder = MaskFinder(self._model, self._segmenter, read_classes(words), AnnotateOptions())
        (found,) = finder.find([picture])
        return [] if found is None else [(one.label, one.mask.array()) for one in found.regions]

    def click(self, picture: NDArray[np.uint8], label: str, x: float, y: float) -> Found:
        """The object at a click, in pixels."""
        return _as_found(label, self._prompted.session(picture).click(x, y))

    def box(self, picture: NDArray[np.uint8], label: str, *sides: float) -> Found:
        """The object in a box x0, y0, x1, y1, in pixels."""
        x0, y0, x1, y1 = sides
        return _as_found(label, self._prompted.session(picture).box(x0, y0, x1, y1))


def _as_found(label: str, masks: TextMasks) -> Found:
    return [(label, mask) for mask in masks.masks]
