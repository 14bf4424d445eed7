"""An image as both models see it, and the crops of it in which small objects are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ovseg.masks.prompts import PromptSet
from ovseg.masks.shapes import inside
from ovseg.results.types import ImageFeatures, PointPrompts
from ovseg.segmenters.base import Embedding, Enlarge, MaskSet, Segmenter

SMALL = 1 / 6
"""A component is decoded in a crop where its longer side is below this share of the image's longer side."""
AROUND = 4
"""Sides of a crop in sides of the component."""


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """One image as both models see it; made once for all texts and clicks.

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
class Frame:
    """The part of an image in which a prompt set is decoded, and the set in its pixels.

    Attributes:
        embedding: of the part.
        source: the prompt set, its points and region in this part.
        corner: (top, left) of the part in the image.
    """

    embedding: Embedding[object]
    source: PromptSet
    corner: tuple[int, int] | None = None

    def in_image(self, found: MaskSet, size: tuple[int, int]) -> MaskSet:
        """Candidates of this part as masks of the whole image of ``size``."""
        if self.corner is None:
            return found
        top, left = self.corner
        box = (top, left, top + found.size[0], left + found.size[1])
        return replace(found, size=size, enlarge=partial(_placed, found.enlarge, box, size))


def is_small(one: PromptSet, size: tuple[int, int], threshold: float) -> bool:
    """Whether the component of a prompt set is small in an image of ``size`` (height, width)."""
    return _around(one, size, threshold) is not None


def frames(
    segmenter: Segmenter, encoded: EncodedImage, sets: Sequence[PromptSet], threshold: float, crops: bool
) -> list[Frame]:
    """Where each prompt set is decoded: in the whole image, or with ``crops`` around a small component."""
    out = []
    for one in sets:
        cells = _around(one, encoded.size, threshold) if crops else None
        if cells is None or one.region is None:
            out.append(Frame(encoded.embedding, one))
            continue
        scale = encoded.size[0] / one.region.shape[0], encoded.size[1] / one.region.shape[1]
        top, bottom = (round(row * scale[0]) for row in cells[:2])
        left, right = (round(column * scale[1]) for column in cells[2:])
        embedding = segmenter.encode(encoded.image[top:bottom, left:right])
        xy = one.prompts.xy - np.array([left, top], np.float32)
        kept = ((xy >= 0) & (xy < [right - left, bottom - top])).all(axis=1)
        local = PromptSet(
            PointPrompts(xy[kept], one.prompts.labels[kept]),
            np.ascontiguousarray(one.region[cells[0] : cells[1], cells[2] : cells[3]]),
        )
        out.append(Frame(embedding, local, (top, left)))
    return out


def _around(one: PromptSet, size: tuple[int, int], threshold: float) -> tuple[int, int, int, int] | None:
    """Rows and columns (r0, r1, c0, c1) of the map around a small component; None where it is not small."""
    if one.region is None or one.clicks or one.box is not None:
        return None
    high = inside(one.region, threshold)
    rows, columns = np.flatnonzero(high.any(axis=1)), np.flatnonzero(high.any(axis=0))
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    if side >= SMALL * max(high.shape) or min(size) < 64:
        return None
    reach = AROUND * side / 2
    edges = []
    for found, length in ((rows, high.shape[0]), (columns, high.shape[1])):
        middle = (found[0] + found[-1] + 1) / 2
        edges += [max(0, int(np.floor(middle - reach))), min(length, int(np.ceil(middle + reach)))]
    return edges[0], edges[1], edges[2], edges[3]


def _placed(
    enlarge: Enlarge,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    logits: NDArray[np.float32],
    wanted: tuple[int, int],
) -> NDArray[np.bool_]:
    """Masks of the part inside ``box`` of an image of ``size``, in the image brought to ``wanted``."""
    scale = wanted[0] / size[0], wanted[1] / size[1]
    top, left = min(round(box[0] * scale[0]), wanted[0] - 1), min(round(box[1] * scale[1]), wanted[1] - 1)
    bottom, right = max(top + 1, round(box[2] * scale[0])), max(left + 1, round(box[3] * scale[1]))
    out = np.zeros((len(logits), *wanted), bool)
    out[:, top:bottom, left:right] = enlarge(logits, (bottom - top, right - left))
    return out
