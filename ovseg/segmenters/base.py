"""The interface of a segmenter: a costly ``encode(image)`` once, then ``decode(prompts)`` many times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ovseg.errors import UsageError, described
from ovseg.files.cache import ContentCache
from ovseg.results.base import check_array
from ovseg.segmenters.prompts import CheckedPrompt, Prompt, check_boxes, check_prompt

Features = TypeVar("Features")
Enlarge = Callable[[NDArray[np.float32], tuple[int, int]], NDArray[np.bool_]]
"""(M, h, w) logits and a size (height, width) to (M, height, width) masks."""


@dataclass(frozen=True, eq=False)
class Embedding(Generic[Features]):
    """An image as one segmenter encoded it.

    Attributes:
        owner: the name of the segmenter that made it and alone can decode it.
        size: (height, width) of the image in pixels.
        features: the family's own.
    """

    owner: str
    size: tuple[int, int]
    features: Features


@dataclass(frozen=True, eq=False)
class MaskSet:
    """The candidate masks for one prompt, stored in low resolution and upsampled on access.

    Attributes:
        logits: (M, h, w) float32 in the segmenter's low resolution, positive inside; one of them can be given
            back to ``Segmenter.decode`` as ``mask``.
        scores: (M,) float32, the segmenter's own estimate of the quality of each mask.
        size: (height, width) of the image in pixels.
        enlarge: upsamples logits (M, h, w) to masks of a given size.
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    size: tuple[int, int]
    enlarge: Enlarge

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or self.scores.shape != self.logits.shape[:1]:
            raise UsageError(
                f"expected logits (M, h, w) and scores (M,), got {self.logits.shape}, {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, index: int, size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """One candidate at ``size`` (height, width), by default the image's: (H, W) bool.

        It is computed at each call.
        """
        return self.enlarge(self.logits[[index]], size or self.size)[0]

    def at(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Every candidate at ``size`` (height, width), also below the image's: (M, height, width) bool."""
        return self.enlarge(self.logits, size)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Every candidate at the image's size, (M, H, W) bool."""
        return self.at(self.size)

    @property
    def best(self) -> int:
        """The index of the candidate with the highest score."""
        return int(self.scores.argmax())


class Segmenter(ABC, Generic[Features]):
    """A promptable segmenter; ``ovseg.load_segmenter`` loads one by name.

    ``encode`` does the costly work on an image once, and ``decode`` answers prompts on its embedding. Points are
    (x, y) and boxes (x0, y0, x1, y1), in pixels of the encoded image; a family maps them to its model's
    input. The last embeddings are cached by the image's content, so threads and sessions can share a segmenter.

    A segmenter of your own sets ``name`` and implements ``_encode``, ``_decode`` and ``_prior``; and
    ``_decode_many`` where its decoder takes several prompts in one call.

    Attributes:
        name: identifies segmenter and weights; equal names give equal masks.
        origin: loads the same segmenter again; None for one that was constructed directly.
        accepts_mask_prompt: whether it works with coarse maps as mask prompts, see ``prior``.
        accepts_rival: whether it also takes a map of what else could be meant.
        predicts_iou: whether its scores were learned from the IoU of its masks.

    Example:
        >>> from ovseg import load_segmenter
        >>> image = np.zeros((40, 60, 3), np.uint8)
        >>> image[10:30, 20:40] = 255
        >>> segmenter = load_segmenter("grabcut")
        >>> found = segmenter.decode(segmenter.encode(image), points=[(30, 20)])
        >>> found.mask(found.best).shape
        (40, 60)
    """

    name: str
    origin: Callable[[], Segmenter[Features]] | None = None
    accepts_mask_prompt = False
    accepts_rival = False
    predicts_iou = True

    def __init__(self) -> None:
        self._embeddings: ContentCache[Embedding[Features]] = ContentCache()

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """A segmenter is pickled by its name; the other process loads the same weights."""
        if self.origin is None:
            raise UsageError("expected a segmenter that can be loaded again by its name and weights")
        return self.origin, ()

    def encode(self, image: NDArray[np.uint8]) -> Embedding[Features]:
        """Encode an image; equal pixels are encoded once.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            UsageError: another array, or no array.
            ImageError: the segmenter cannot encode so narrow an image.
        """
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.shape[2:] != (3,)
            or 0 in image.shape
        ):
            raise UsageError(f"expected an (H, W, 3) uint8 RGB array, got {described(image)}")
        return self._embeddings.get(
            image,
            lambda pixels: Embedding(self.name, (pixels.shape[0], pixels.shape[1]), self._encode(pixels)),
        )

    def decode(
        self,
        embedding: Embedding[Features],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        rival: ArrayLike | None = None,
    ) -> MaskSet:
        """Candidate masks for one object.

        Args:
            embedding: the image's, from ``encode``.
            points: (P, 2), (x, y) in pixels of the image.
            labels: (P,), 1 on the object and 0 beside it; None: all on it.
            box: (x0, y0, x1, y1) in pixels of the image, cut to it.
            mask: (h, w) logits from an earlier MaskSet or ``prior``.
            rival: (h, w) logits from ``prior``, of what else could be meant.

        Returns:
            The candidates, three in each of ovseg's families.

        Raises:
            UsageError: no prompt is given, a point is outside the image, a box has no area, an array has
                another shape, the segmenter takes no rival, or the embedding is of another segmenter.
        """
        return self.decode_many(embedding, [Prompt(points, labels, box, mask, rival)])[0]

    def decode_many(self, embedding: Embedding[Features], prompts: Sequence[Prompt]) -> list[MaskSet]:
        """Candidate masks for several objects of one image.

        SAM decodes prompts of the same form (as many points, with or without box and mask) in one call;
        prompts are never padded, because padding changes the masks.

        Args:
            embedding: the image's, from ``encode``.
            prompts: one for each object, as in ``decode``.

        Returns:
            A MaskSet for each prompt, in order.

        Raises:
            UsageError: as in ``decode``.
        """
        self._check_own(embedding)
        checked = [check_prompt(embedding.size, one) for one in _listed(prompts)]
        if not self.accepts_rival and any(one.rival is not None for one in checked):
            raise UsageError(f"expected a prompt without a rival, {self.name} takes none")
        return self._decode_many(embedding, checked)

    def segment_boxes(
        self, image: NDArray[np.uint8] | Embedding[Features], boxes: ArrayLike
    ) -> list[MaskSet]:
        """Candidate masks for the object in each of several boxes.

        Args:
            image: (H, W, 3) uint8 RGB, or its embedding.
            boxes: (N, 4), (x0, y0, x1, y1) in pixels of the image, each cut to it.

        Returns:
            A MaskSet for each box, in order.

        Raises:
            UsageError: the array has another shape, or a box has no area inside the image.
        """
        embedding = image if isinstance(image, Embedding) else self.encode(image)
        found = check_boxes(boxes, embedding.size)
        return self.decode_many(embedding, [Prompt(box=box) for box in found])

    def prior(self, embedding: Embedding[Features], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert a coarse map to a mask prompt.

        Args:
            embedding: of the image.
            values: (H, W) in 0..1 at any resolution; 0.5 is the border of the object.

        Returns:
            (h, w) logits for ``decode(mask=…)``.

        Raises:
            UsageError: the map is no array with two axes, or the embedding is of another segmenter.
        """
        self._check_own(embedding)
        check_array("a map", values, "(H, W)", "uifb")
        if values.size == 0:
            raise UsageError(f"expected a map (H, W) with at least one value, got {values.shape}")
        return self._prior(embedding, values.astype(np.float32))

    def _check_own(self, embedding: object) -> None:
        if not isinstance(embedding, Embedding):
            raise UsageError(f"expected an embedding that encode() gave, got {described(embedding)}")
        if embedding.owner != self.name:
            raise UsageError(f"expected an embedding of {self.name}, got one of {embedding.owner}")

    @abstractmethod
    def _encode(self, image: NDArray[np.uint8]) -> Features:
        """Features of a contiguous, read-only image (H, W, 3) RGB for ``_decode``."""

    @abstractmethod
    def _decode(self, embedding: Embedding[Features], prompt: CheckedPrompt) -> MaskSet:
        """Candidate masks for one prompt, which fits the image."""

    @abstractmethod
    def _prior(self, embedding: Embedding[Features], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map (H, W) in 0..1 as logits in the size and frame of ``_decode``."""

    def _decode_many(self, embedding: Embedding[Features], prompts: Sequence[CheckedPrompt]) -> list[MaskSet]:
        """Candidate masks for each prompt, in order."""
        return [self._decode(embedding, prompt) for prompt in prompts]


def _listed(prompts: Iterable[Prompt]) -> list[Prompt]:
    try:
        if isinstance(prompts, (str, bytes)):
            raise TypeError
        return list(prompts)
    except TypeError:  # a 0-d array has __iter__, which raises
        raise UsageError(f"expected a list of prompts, got {described(prompts)}") from None
