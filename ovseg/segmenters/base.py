"""The protocol of a promptable segmenter: ``encode(image)`` once, ``decode(prompts)`` many times.

Nothing about an image is kept in the segmenter except a cache of embeddings by content, so that
sessions on several images can share one. A family implements ``_encode`` and ``_decode``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ovseg.cache import ContentCache
from ovseg.errors import UsageError


@dataclass(frozen=True)
class Embedding:
    """What a segmenter knows of one image: ``size`` (height, width) in pixels, ``owner`` whose it is."""

    owner: str
    size: tuple[int, int]
    features: Any


@dataclass(frozen=True)
class MaskSet:
    """Candidate answers to one prompt: ``masks`` (M, H, W) bool at the image's size, ``scores`` (M,)
    float32, the segmenter's own estimate of each mask's IoU, ``logits`` (M, h, w) float32 in the
    segmenter's low resolution, positive inside, to be handed back as ``mask``."""

    masks: np.ndarray
    scores: np.ndarray
    logits: np.ndarray

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or not len(self.masks) == len(self.scores) == len(self.logits):
            shapes = self.masks.shape, self.scores.shape, self.logits.shape
            raise ValueError(f"masks, scores and logits do not belong together: {shapes}")


@dataclass(frozen=True)
class Prompt:
    """Checked prompts: ``points`` (P, 2) float32, ``labels`` (P,), ``box`` (x0, y0, x1, y1), ``mask`` (h, w)."""

    points: np.ndarray
    labels: np.ndarray
    box: np.ndarray | None
    mask: np.ndarray | None


class Segmenter(ABC):
    """A promptable segmenter. ``name`` says which; equal names give equal masks."""

    name: str
    accepts_mask_prompt = False
    """Whether ``prior`` of a coarse map is a prompt that it was made for."""
    predicts_iou = True
    """Whether its scores were learned from the IoU of its masks."""

    def __init__(self) -> None:
        self._embeddings: ContentCache[Embedding] = ContentCache()

    def encode(self, image: np.ndarray) -> Embedding:
        """The embedding of an (H, W, 3) uint8 RGB image; the same pixels are encoded once.

        Raises UsageError for another array.
        """
        if (
            not isinstance(image, np.ndarray)
            or image.ndim != 3
            or image.shape[2] != 3
            or image.dtype != np.uint8
        ):
            got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
            raise UsageError(f"wanted an (H, W, 3) uint8 RGB array, got {got}")
        return self._embeddings.get(
            image,
            lambda pixels: Embedding(self.name, (pixels.shape[0], pixels.shape[1]), self._encode(pixels)),
        )

    def decode(
        self,
        embedding: Embedding,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: np.ndarray | None = None,
    ) -> MaskSet:
        """Candidate masks for one object.

        ``points`` (P, 2): (x, y) in pixels of the original image, ``labels`` (P,) 1 on it and 0
        beside it; ``box`` (x0, y0, x1, y1) in the same pixels; ``mask`` (h, w): logits that an
        earlier answer, or ``prior``, gave.

        Raises UsageError where nothing says what the object is, for points outside the image, a
        box without area, or an embedding of another segmenter.
        """
        if embedding.owner != self.name:
            raise UsageError(f"wanted an embedding of {self.name}, got one of {embedding.owner}")
        return self._decode(embedding, check_prompt(embedding.size, points, labels, box, mask))

    @abstractmethod
    def prior(self, embedding: Embedding, values: np.ndarray) -> np.ndarray:
        """A map (H, W) in 0..1 at any resolution as logits (h, w) for ``mask``: 0.5 is the border."""

    @abstractmethod
    def _encode(self, image: np.ndarray) -> Any: ...

    @abstractmethod
    def _decode(self, embedding: Embedding, prompt: Prompt) -> MaskSet: ...


def framed(values: np.ndarray, size: tuple[float, float], side: int) -> np.ndarray:
    """A map (H, W) in 0..1 as logits (side, side) of SAM: in the upper left ``size`` (height, width) of them.

    The padding is not the object.
    """
    logits = np.full((side, side), -10, np.float32)
    height, width = (max(1, round(length)) for length in size)
    logits[:height, :width] = cv2.resize((values.astype(np.float32) - 0.5) * 20, (width, height))
    return logits


def check_prompt(size: tuple[int, int], points: Any, labels: Any, box: Any, mask: Any) -> Prompt:
    """Prompts as arrays, or UsageError in one line."""
    points = np.zeros((0, 2), np.float32) if points is None else np.asarray(points, np.float32)
    labels = np.ones(len(points), np.uint8) if labels is None else np.asarray(labels)
    if points.size == 0:
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise UsageError(f"wanted points (P, 2) and labels (P,), got {points.shape} and {labels.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise UsageError(f"wanted labels 1 and 0, got {labels.tolist()}")
    for x, y in points:
        check_inside(x, y, size)
    if box is not None:
        box = check_box(box, size)
    if mask is not None and (np.ndim(mask) != 2 or 0 in np.shape(mask)):
        raise UsageError(f"wanted logits (h, w) as a mask, got shape {np.shape(mask)}")
    if box is None and mask is None and not (labels == 1).any():
        raise UsageError("wanted a foreground point, a box or a mask, got none")
    return Prompt(points, labels.astype(np.uint8), box, mask)


def check_inside(x: float, y: float, size: tuple[int, int]) -> None:
    if not (0 <= x < size[1] and 0 <= y < size[0]):  # false for NaN too
        raise UsageError(
            f"wanted a point inside the image of {size[1]} x {size[0]} pixels, got ({x:g}, {y:g})"
        )


def check_box(box: Any, size: tuple[int, int]) -> np.ndarray:
    """(4,) float32, cut to the image. Raises UsageError for one without area or wholly outside."""
    array = np.asarray(box, np.float32)
    if array.shape != (4,):
        raise UsageError(f"wanted a box (x0, y0, x1, y1), got {box!r}")
    limit = np.array([size[1], size[0], size[1], size[0]], np.float32)
    cut = np.clip(array, 0, limit)
    if not (cut[2] > cut[0] and cut[3] > cut[1]):
        got = ", ".join(f"{v:g}" for v in array)
        raise UsageError(f"wanted a box with an area inside {size[1]} x {size[0]} pixels, got ({got})")
    return cut
