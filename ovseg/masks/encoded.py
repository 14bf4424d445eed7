"""Both models with the options in force, and an image as both models see it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ovseg.files.cache import frozen
from ovseg.model import Model
from ovseg.options import MAP_THRESHOLDS, MaskOptions
from ovseg.results.base import ImageFeatures
from ovseg.segmenters.base import Embedding, Segmenter


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """One image as both models see it; made once for all words and clicks.

    Attributes:
        image: (H, W, 3) uint8 RGB, read-only.
        features: what CLIP gave for its places, and for the image or each window as a whole.
        embedding: the segmenter's.
    """

    image: NDArray[np.uint8]
    features: ImageFeatures
    embedding: Embedding[object]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (self.image.shape[0], self.image.shape[1])


@dataclass(frozen=True, eq=False)
class Setup:
    """Both models and the options that are in force.

    Attributes:
        model, segmenter: the models.
        options: as they were given, with None replaced by what the rule and the segmenter decide.
        threshold: on the min-max map, for points.

    Raises:
        UsageError: the window is not made of whole patches.
    """

    model: Model
    segmenter: Segmenter
    options: MaskOptions

    def __post_init__(self) -> None:
        given, segmenter = self.options, self.segmenter
        self.model.check_window(given)
        decided = replace(
            given,
            map_threshold=self.threshold,
            prompt_with=given.prompt_with or ("map" if segmenter.accepts_mask_prompt else "points"),
            mask_choice=given.mask_choice or ("score" if segmenter.predicts_iou else "agreement"),
        )
        object.__setattr__(self, "options", decided)

    @property
    def threshold(self) -> float:
        given = self.options.map_threshold
        return MAP_THRESHOLDS[self.options.point_rule] if given is None else given

    def encode(self, image: NDArray[np.uint8], features: ImageFeatures | None = None) -> EncodedImage:
        """An image through both encoders; copied where the caller could change the array.

        Args:
            image: (H, W, 3) uint8 RGB.
            features: CLIP's, where the image went through it with others.

        Raises:
            OvsegError: it cannot be encoded.
        """
        kept = frozen(image)
        if features is None:
            features = self.model.dense_features(kept, options=self.options)
        return EncodedImage(kept, features, self.segmenter.encode(kept))
