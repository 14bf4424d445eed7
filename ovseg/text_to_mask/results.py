"""What passes between the steps from a text to its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ovseg.errors import UsageError
from ovseg.segmenters.base import Embedding
from ovseg.types import ImageTokens, PointPrompts
from ovseg.vocabulary import as_vocabulary

Box: TypeAlias = "tuple[float, float, float, float]"  # x0, y0, x1, y1 in pixels of the image
Click: TypeAlias = "tuple[float, float, bool]"  # x, y, foreground


@dataclass(frozen=True)
class Candidates:
    """What the segmenter offered for one prompt set, and which was taken.

    ``logits`` (3, h, w), positive inside, in the segmenter's low resolution; ``scores`` (3,) its own
    estimate; ``agreement`` (3,) IoU with the map's component (1 where clicks alone spoke).
    """

    prompts: PointPrompts
    box: Box | None
    logits: np.ndarray
    scores: np.ndarray
    agreement: np.ndarray
    chosen: int


@dataclass(frozen=True)
class TextMasks:
    """The answer to one text: ``masks`` (M, H, W) bool, one per object, with ``scores`` (M,) float32, the
    segmenter's estimates. M = 0 with the ``reason`` where there is nothing.

    ``presence``: 0..1 for each part of the text, 0.5 and more is there. ``maps`` (parts, h, w) on the
    token grid are what points were taken from: similarities under the paper's rule, their log odds
    against everyday words, in units of similarity, under ours. ``candidates`` (M) hold
    points and what was chosen from; masks that came apart share theirs.
    """

    text: str
    masks: np.ndarray
    scores: np.ndarray
    presence: dict[str, float]
    maps: np.ndarray
    candidates: tuple[Candidates, ...]
    reason: str | None = None

    @property
    def points(self) -> tuple[PointPrompts, ...]:
        """The prompt set of each mask."""
        return tuple(candidates.prompts for candidates in self.candidates)

    @property
    def union(self) -> np.ndarray:
        """(H, W) bool: every mask together."""
        return np.asarray(self.masks.any(axis=0))

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class Look:
    """One image as both models see it; made once."""

    image: np.ndarray
    tokens: ImageTokens
    embedding: Embedding

    @property
    def size(self) -> tuple[int, int]:
        return (self.image.shape[0], self.image.shape[1])


@dataclass(frozen=True)
class Ask:
    """One prompt set of a map, the region it came from ((h, w) in 0..1, None for clicks alone), and
    what was clicked (x, y, foreground) on top of it. ``whole`` (h, w): the map with all its regions,
    where others came from it too."""

    prompts: PointPrompts
    region: np.ndarray | None = None
    box: Box | None = None
    clicks: tuple[Click, ...] = ()
    whole: np.ndarray | None = None

    def with_clicks(self, prompts: PointPrompts) -> PointPrompts:
        """``prompts`` and the clicks, positives first."""
        if not self.clicks:
            return prompts
        xy = np.concatenate([prompts.xy, np.array([click[:2] for click in self.clicks], np.float32)])
        labels = np.concatenate([prompts.labels, np.array([click[2] for click in self.clicks], np.uint8)])
        order = np.argsort(1 - labels, kind="stable")
        return PointPrompts(xy[order], labels[order])


def join(asks: Sequence[Ask]) -> Ask | None:
    """The prompt sets of one map as a single one, or None where there is nothing to join."""
    whole = asks[0].whole
    if len(asks) < 2 or whole is None:
        return None
    positives = [ask.prompts.positives for ask in asks]
    negatives = [ask.prompts.negatives for ask in asks]
    labels = np.repeat(np.array([1, 0], np.uint8), [sum(map(len, positives)), sum(map(len, negatives))])
    clicks = tuple(dict.fromkeys(click for ask in asks for click in ask.clicks))
    prompts = PointPrompts(np.concatenate([*positives, *negatives]), labels)
    return Ask(prompts, whole, asks[0].box, clicks)


def no_masks(
    text: str, size: tuple[int, int], presence: dict[str, float], maps: np.ndarray, reason: str | None
) -> TextMasks:
    """An answer without masks yet, for an image of ``size`` (height, width)."""
    return TextMasks(text, np.zeros((0, *size), bool), np.zeros(0, np.float32), presence, maps, (), reason)


def split(text: str) -> tuple[str, ...]:
    """ "person+bench" to its parts. Raises UsageError where one is empty or comes twice."""
    if not isinstance(text, str):
        raise UsageError(f"wanted a text, got {type(text).__name__} {text!r}")
    if not text.strip():
        raise UsageError(f"wanted a text with letters in it, got {text!r}")
    return as_vocabulary(text.split("+")).names
