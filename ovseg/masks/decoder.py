"""Prompt sets through the segmenter's decoder, and the choice among its candidates.

With windows, a small object is decoded in a crop around it. Candidates are compared at no more than
``COMPARED`` pixels on the long side; only the masks that are returned are enlarged to the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.maps.points import no_points
from ovseg.masks.encoded import EncodedImage, Setup
from ovseg.masks.prompts import PromptSet
from ovseg.masks.shapes import bounds, centred, inside, tidy
from ovseg.metrics import mask_iou
from ovseg.results.base import PointPrompts
from ovseg.results.masks import Candidates
from ovseg.segmenters.base import Embedding, Enlarge, MaskSet
from ovseg.segmenters.prompts import Prompt

COMPARED = 256
"""Long side in pixels at which candidates are compared with the map and with each other."""
SMALL = 1 / 6
"""Components whose longer side is below this share of the image's longer side are decoded in a crop."""
AROUND = 4
"""Side of a crop, as a multiple of the component's longer side."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The part of an image in which a prompt set is decoded.

    Attributes:
        embedding: the segmenter's, of this part.
        source: the prompt set in pixels of this part.
        corner: (top, left) of the part in the image; None for the whole image.
    """

    embedding: Embedding[object]
    source: PromptSet
    corner: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Decoded:
    """One prompt set and the segmenter's candidate masks; masks are enlarged on demand.

    Attributes:
        source: the prompt set, in pixels of the image.
        frame: the part of the image in which it was decoded.
        prompt: the segmenter's input.
        local: the candidates, in pixels of the part.
        size: (height, width) of the image.
        setup: its options say how a candidate is chosen.
    """

    source: PromptSet
    frame: Frame
    prompt: Prompt
    local: MaskSet
    size: tuple[int, int]
    setup: Setup

    @cached_property
    def agreement(self) -> NDArray[np.float32]:
        """The IoU of each candidate with the component of the map, (C,); 1 where there is no map."""
        region = self.frame.source.region
        if region is None:
            return np.ones(len(self.local), np.float32)
        width_height = (region.shape[1], region.shape[0])
        wanted = inside(region, self.setup.threshold)
        covered = [
            cv2.resize(mask.view(np.uint8), width_height, interpolation=cv2.INTER_AREA)
            for mask in self.local.at(_compared(self.local.size))
        ]
        return np.array([mask_iou(mask > 0, wanted) for mask in covered], np.float32)

    @cached_property
    def chosen(self) -> int:
        """The index of the best candidate."""
        by = self.setup.options.mask_choice
        if self.frame.source.region is None or by == "score":
            return self.local.best
        ranks = self.agreement if by == "agreement" else self.local.scores + self.agreement
        return int(ranks.argmax())

    @cached_property
    def small(self) -> NDArray[np.bool_]:
        """The chosen mask at ``COMPARED`` pixels on the long side, without specks and holes."""
        small = self._in_image.mask(self.chosen, _compared(self.size))
        scale = small.shape[1] / self.size[1], small.shape[0] / self.size[0]
        clicks = [(x * scale[0], y * scale[1], foreground) for x, y, foreground in self.source.clicks]
        return tidy(small, self.setup.options.clean, clicks)

    @property
    def score(self) -> float:
        """The IoU that the segmenter estimates for the chosen mask."""
        return float(self.local.scores[self.chosen])

    def mask(self) -> NDArray[np.bool_]:
        """The chosen mask at the image's size, (H, W), without specks and holes."""
        return tidy(self._in_image.mask(self.chosen), self.setup.options.clean, self.source.clicks)

    @cached_property
    def candidates(self) -> Candidates:
        """Points, box, logits and scores, as results hold them."""
        top, left = self.frame.corner or (0, 0)
        xy = np.asarray(self.prompt.points, np.float32) + np.array([left, top], np.float32)
        points = PointPrompts(xy, np.asarray(self.prompt.labels, np.uint8))
        box = None
        if self.prompt.box is not None:
            x0, y0, x1, y1 = np.asarray(self.prompt.box).tolist()
            box = (x0 + left, y0 + top, x1 + left, y1 + top)
        return Candidates(points, box, self.local.logits, self.local.scores, self.agreement, self.chosen)

    @property
    def _in_image(self) -> MaskSet:
        """The candidates as masks of the whole image."""
        if self.frame.corner is None:
            return self.local
        top, left = self.frame.corner
        box = (top, left, top + self.local.size[0], left + self.local.size[1])
        return replace(
            self.local, size=self.size, enlarge=partial(_placed, self.local.enlarge, box, self.size)
        )


def decode(setup: Setup, encoded: EncodedImage, sets: Sequence[PromptSet]) -> list[Decoded]:
    """The segmenter's candidates for every prompt set; sets that share an embedding are decoded together."""
    frames = [_frame(setup, encoded, one) for one in sets]
    prompts = [_prompt(setup, frame) for frame in frames]
    out = _decode_frames(setup, encoded, sets, frames, prompts)
    if setup.options.refine:
        again = [replace(one.prompt, mask=one.local.logits[one.chosen]) for one in out]
        out = _decode_frames(setup, encoded, sets, frames, again)
    return out


def is_small(setup: Setup, one: PromptSet, size: tuple[int, int]) -> bool:
    """Whether a prompt set is decoded in a crop; ``size`` is the image's (height, width)."""
    return _around(setup, one, size) is not None


def _decode_frames(
    setup: Setup,
    encoded: EncodedImage,
    sets: Sequence[PromptSet],
    frames: Sequence[Frame],
    prompts: Sequence[Prompt],
) -> list[Decoded]:
    """Decode the prompts of each embedding in one call; results come in the order of ``prompts``."""
    owners: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        owners.setdefault(id(frame.embedding), []).append(index)
    found: dict[int, MaskSet] = {}
    for part in owners.values():
        masks = setup.segmenter.decode_many(frames[part[0]].embedding, [prompts[k] for k in part])
        found |= zip(part, masks, strict=True)
    return [
        Decoded(*one, found[index], encoded.size, setup)
        for index, one in enumerate(zip(sets, frames, prompts, strict=True))
    ]


def _prompt(setup: Setup, frame: Frame) -> Prompt:
    """Points, box and first mask of one prompt set, as ``options.prompt_with`` says."""
    one, embedding = frame.source, frame.embedding
    prompts, box, mask, rival = one.prompts, one.box, None, None
    if one.region is not None and setup.options.prompt_with == "map":
        mask = setup.segmenter.prior(embedding, centred(one.region, setup.threshold))
        if one.rival is not None:
            rival = setup.segmenter.prior(embedding, centred(one.rival, setup.threshold))
    elif one.region is not None and setup.options.prompt_with == "box":
        box = box or bounds(inside(one.region, setup.threshold), embedding.size)
        prompts = no_points()
    prompts = one.with_clicks(prompts)
    return Prompt(prompts.xy, prompts.labels, box, mask, rival)


def _frame(setup: Setup, encoded: EncodedImage, one: PromptSet) -> Frame:
    """The whole image, or a crop around a small component."""
    cells = _around(setup, one, encoded.size)
    if cells is None or one.region is None:
        return Frame(encoded.embedding, one)
    scale = encoded.size[0] / one.region.shape[0], encoded.size[1] / one.region.shape[1]
    top, bottom = (round(row * scale[0]) for row in cells[:2])
    left, right = (round(column * scale[1]) for column in cells[2:])
    embedding = setup.segmenter.encode(encoded.image[top:bottom, left:right])
    xy = one.prompts.xy - np.array([left, top], np.float32)
    kept = ((xy >= 0) & (xy < [right - left, bottom - top])).all(axis=1)
    region, rival = (
        None if values is None else np.ascontiguousarray(values[cells[0] : cells[1], cells[2] : cells[3]])
        for values in (one.region, one.rival)
    )
    local = PromptSet(PointPrompts(xy[kept], one.prompts.labels[kept]), region, rival=rival)
    return Frame(embedding, local, (top, left))


def _around(setup: Setup, one: PromptSet, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The crop around a small component in cells of the map, (r0, r1, c0, c1); None for the whole image."""
    if setup.options.window is None or one.region is None or one.clicks or one.box is not None:
        return None
    high = inside(one.region, setup.threshold)
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
    """Upsample logits of the part ``box`` of an image, and paste them into masks of the image.

    Args:
        enlarge: upsamples logits to masks of a given size.
        box: top, left, bottom, right of the part.
        size: (height, width) of the image.
        logits: of the part, (M, h, w).
        wanted: (height, width) of the masks.
    """
    scale = wanted[0] / size[0], wanted[1] / size[1]
    top, left = min(round(box[0] * scale[0]), wanted[0] - 1), min(round(box[1] * scale[1]), wanted[1] - 1)
    bottom, right = max(top + 1, round(box[2] * scale[0])), max(left + 1, round(box[3] * scale[1]))
    out = np.zeros((len(logits), *wanted), bool)
    out[:, top:bottom, left:right] = enlarge(logits, (bottom - top, right - left))
    return out


def _compared(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, COMPARED / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
