"""The engine: a stream of images to the scores of every text at every place, in batches of one size.

    images ─> crops (whole images, or windows) ─> batches of one size ─> encoder ─> scores on token grids ─>
    in order

``stream`` takes images from an iterator as it needs them and hands out each result as soon as it and all
before it are there. Memory does not depend on the number of images: at most ``WAITING_PIXELS`` of them wait
for a batch to fill, and what is kept of an encoded image are scores on its token grids. ``classify`` turns
these into a label map in bands, so that scores are never held for every text at every pixel.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.maps.guided import Guided, guided
from ovseg.maps.labels import kept_classes, label_map, probabilities
from ovseg.maps.scores import Box, GridScores, Resized, ScoreMap, WindowScores, bands, render, windows
from ovseg.maps.similarity import to_grid
from ovseg.model.inputs import fitted, whole_patches
from ovseg.options import InputOptions, SegmentOptions
from ovseg.options.checks import pair
from ovseg.results import void_value
from ovseg.results.base import ImageTokens
from ovseg.words.vocabulary import Vocabulary

Key = TypeVar("Key")
BATCH_PIXELS = 4 * 512 * 512
"""Crops of one size go through the encoder together up to this many pixels, where no batch size is given."""
WAITING_PIXELS = 4 * BATCH_PIXELS
"""Images wait, for a batch of their size to fill or for one before them, up to this many pixels altogether."""


@dataclass(frozen=True)
class Dense(Generic[Key]):
    """What the engine hands out for one image.

    Attributes:
        key: what came with the image.
        scores: C channels at every place, on the token grid or on the grids of the windows; for label maps
            with ``edges`` those after the filter.
        class_tokens: (n, D), one for the whole image or one for each window, not normalised.
        size: (height, width) in pixels of the image that was encoded.
    """

    key: Key
    scores: GridScores | WindowScores | Guided
    class_tokens: Tensor
    size: tuple[int, int]

    def enlarged(self, whole: str) -> ScoreMap:
        """The scores that a label map is made of.

        Args:
            whole: of the method, one of ``clip.attention.WHOLE``: "cut" enlarges a whole image's scores to the
                size of the encoded image first.
        """
        if whole == "cut" and isinstance(self.scores, GridScores):
            return Resized(self.scores, self.size)
        return self.scores


@dataclass
class _Job(Generic[Key]):
    """An image on its way: its crops, and what the encoder gave for each of them so far."""

    key: Key
    size: tuple[int, int]
    boxes: list[Box]
    whole: bool
    guide: Tensor | None = None  # (3, H, W), kept where the scores are to follow its edges
    patch: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        self.missing = len(self.boxes)
        self.grids: list[Tensor | None] = [None] * self.missing
        self.tokens: list[Tensor | None] = [None] * self.missing

    def missing_size(self) -> tuple[int, int]:
        """The (height, width) of its first crop that is not encoded."""
        top, left, bottom, right = self.boxes[self.grids.index(None)]
        return bottom - top, right - left

    @property
    def pixels(self) -> int:
        """How many pixels its crops have."""
        return sum((bottom - top) * (right - left) for top, left, bottom, right in self.boxes)

    def result(self) -> Dense[Key]:
        grids = [grid for grid in self.grids if grid is not None]
        tokens = torch.stack([token for token in self.tokens if token is not None])
        scores: GridScores | WindowScores | Guided
        scores = GridScores(grids[0]) if self.whole else WindowScores(self.size, self.boxes, grids)
        if self.guide is not None:
            height, width = whole_patches(self.size, self.patch)
            cells = (height // self.patch[0], width // self.patch[1])
            scores = guided(scores, self.guide.to(grids[0].device), cells)
        return Dense(self.key, scores, tokens, self.size)


@dataclass(frozen=True)
class _Crop(Generic[Key]):
    """One window of an image, or the whole of it."""

    job: _Job[Key]
    index: int
    pixels: Tensor  # (3, h, w)


def stream(
    encode: Callable[[Tensor], ImageTokens],
    patch: tuple[int, int],
    images: Iterable[tuple[Key, Tensor]],
    score: Callable[[ImageTokens], Tensor] | None,
    options: InputOptions,
    follow_edges: bool = False,
    whole: str = "fitted",
) -> Iterator[Dense[Key]]:
    """Every image through the encoder, in order, batches of one size together.

    Args:
        encode: (B, 3, h, w) pixels, whose sides are multiples of the patch, to tokens.
        patch: (height, width) of a token in pixels.
        images: (key, pixels) pairs, pixels (3, H, W) normalised, of any sizes. Crops whose sides are no
            multiples of the patch are fitted to whole patches as ``whole`` says.
        score: tokens of a batch to (B, N, C) channels; only these are kept. None: no channels, for class
            tokens alone.
        options: window, stride and batch.
        follow_edges: filter the scores by the image's edges (``maps.guided``).
        whole: of the method, one of ``clip.attention.WHOLE``.

    Yields:
        A result for each image, as soon as it and all before it are there.
    """
    line: _Line[Key] = _Line(partial(_encode, encode, patch, score=score, whole=whole), options.batch)
    for key, pixels in images:
        job = _Job(key, (pixels.shape[1], pixels.shape[2]), *_boxes(pixels, options))
        if follow_edges:
            job.guide, job.patch = pixels, patch
        line.add(job, pixels)
        yield from line.ready(WAITING_PIXELS)
    yield from line.ready(0)


class _Line(Generic[Key]):
    """Images in order, and their crops in a queue for each size until there are enough for a batch."""

    def __init__(self, encode: Callable[[list[_Crop[Key]]], None], batch: int | None) -> None:
        self._encode = encode
        self._batch = batch
        self._jobs: deque[_Job[Key]] = deque()
        self._queues: dict[tuple[int, int], list[_Crop[Key]]] = {}
        self._pixels = 0

    def add(self, job: _Job[Key], pixels: Tensor) -> None:
        """Queue the crops of an image; every size of which there are enough is encoded."""
        self._jobs.append(job)
        self._pixels += job.pixels
        for index, (top, left, bottom, right) in enumerate(job.boxes):
            size = (bottom - top, right - left)
            queue = self._queues.setdefault(size, [])
            queue.append(_Crop(job, index, pixels[:, top:bottom, left:right]))
            if len(queue) >= self._count(size):
                self._encode_some(size)

    def ready(self, most: int) -> Iterator[Dense[Key]]:
        """The results at the head of the line; more is encoded until at most ``most`` pixels wait.

        What is encoded and cannot go yet counts too: the head may be of a rare size.
        """
        while self._jobs and (self._pixels > most or not self._jobs[0].missing):
            head = self._jobs[0]
            while head.missing:
                self._encode_some(head.missing_size())
            self._pixels -= self._jobs.popleft().pixels
            yield head.result()

    def _count(self, size: tuple[int, int]) -> int:
        return self._batch or max(1, BATCH_PIXELS // (size[0] * size[1]))

    def _encode_some(self, size: tuple[int, int]) -> None:
        count = self._count(size)
        crops, self._queues[size] = self._queues[size][:count], self._queues[size][count:]
        self._encode(crops)


def _boxes(pixels: Tensor, options: InputOptions) -> tuple[list[Box], bool]:
    """Where the crops of an image lie, and whether there is one for the whole image."""
    size = (pixels.shape[1], pixels.shape[2])
    if options.window is None:
        return [(0, 0, *size)], True
    window = pair(options.window)
    stride = pair(options.stride) if options.stride is not None else window
    return windows(size, window, stride), False


@torch.no_grad()
def _encode(
    encode: Callable[[Tensor], ImageTokens],
    patch: tuple[int, int],
    crops: list[_Crop[Key]],
    *,
    score: Callable[[ImageTokens], Tensor] | None,
    whole: str,
) -> None:
    pixels = fitted(torch.stack([crop.pixels for crop in crops]), patch, whole)
    tokens = encode(pixels)
    if score is None:
        grids = tokens.class_token[:, :0, None, None]  # (B, 0, 1, 1)
    else:
        grids = to_grid(score(tokens), tokens.grid)  # (B, C, h, w)
    for crop, grid, token in zip(crops, grids, tokens.class_token, strict=True):
        # A view of the batch would keep the whole batch alive as long as its slowest image.
        crop.job.grids[crop.index] = grid.clone()
        crop.job.tokens[crop.index] = token.clone()
        crop.job.missing -= 1


def on_token_grid(dense: Dense[Key], patch: tuple[int, int]) -> Tensor:
    """The channels on one grid of whole patches, (C, h, w): the mean of the windows where they overlap."""
    scores = dense.scores
    if isinstance(scores, GridScores):
        return scores.grid
    height, width = whole_patches(dense.size, patch)
    grid = (height // patch[0], width // patch[1])
    if isinstance(scores, Guided) or any(
        side % step for box in scores.boxes for side, step in zip(box, patch * 2, strict=True)
    ):
        return render(scores, grid)  # windows between patches: their maps are interpolated
    total = scores.grids[0].new_zeros(scores.texts, *grid)
    count = total.new_zeros(grid)
    for (top, left, bottom, right), values in zip(scores.boxes, scores.grids, strict=True):
        place = (slice(top // patch[0], bottom // patch[0]), slice(left // patch[1], right // patch[1]))
        total[:, place[0], place[1]] += values
        count[place] += 1
    return total / count


@torch.no_grad()
def classify(
    scores: ScoreMap,
    size: tuple[int, int],
    vocabulary: Vocabulary,
    options: SegmentOptions,
    keep: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Cosines to one class for each pixel: softmax, synonyms, area rule, background rule.

    Args:
        scores: the cosine of each of the vocabulary's texts at each place.
        size: (height, width) of the label map in pixels.
        vocabulary: K classes, with the class that words given as ``options.background`` make.
        options: logit_scale, synonyms, area_threshold and background_threshold.
        keep: also return the probabilities at every pixel.

    Returns:
        (H, W) labels on the scores' device, uint8 up to 255 classes and int32 beyond, and (K, H, W)
        probabilities or None.
    """
    classes, background = len(vocabulary), vocabulary.background
    threshold = options.background_threshold
    removed: list[int] = []
    if options.area_threshold:
        best = [band.argmax(dim=0) for band in _class_bands(scores, size, vocabulary, options)]
        kept = kept_classes(torch.cat(best), classes, background, options.area_threshold)
        if not kept:  # without a background class nothing is left that a pixel could belong to
            background, threshold = void_value(classes), math.inf
        removed = sorted(set(range(classes)) - set(kept))
    dtype = torch.uint8 if classes <= 255 else torch.int32  # a large photograph has many pixels
    labels, kept_bands = [], []
    for band in _class_bands(scores, size, vocabulary, options):
        if removed:
            band[removed] = 0
        labels.append(label_map(band, threshold, background).to(dtype))
        if keep:
            kept_bands.append(band)
    return torch.cat(labels), torch.cat(kept_bands, dim=1) if keep else None


def label_array(labels: Tensor, classes: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Labels of ``classes`` classes as an array: uint8 up to 255 classes, uint16 beyond."""
    array = labels.cpu().numpy()
    return array.astype(np.uint8) if classes <= 255 else array.astype(np.uint16)


def _class_bands(
    scores: ScoreMap, size: tuple[int, int], vocabulary: Vocabulary, options: SegmentOptions
) -> Iterator[Tensor]:
    for band in bands(scores, size):
        yield probabilities(band, vocabulary.owners, options.logit_scale, options.synonyms)
