"""Prompt sets through the segmenter's decoder, and the choice among its candidates.

Candidates are compared at no more than ``COMPARED`` pixels; only what is handed out is enlarged to the
image's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.maps.points import no_points
from ovseg.masks.encoded import EncodedImage, Frame, frames
from ovseg.masks.prompts import PromptSet
from ovseg.masks.results import Candidates
from ovseg.masks.shapes import bounds, centred, inside, tidy
from ovseg.metrics import mask_iou
from ovseg.options import MAP_THRESHOLDS, MaskOptions
from ovseg.results.types import PointPrompts
from ovseg.segmenters.base import MaskSet, Segmenter
from ovseg.segmenters.prompts import Box, Prompt

COMPARED = 256
"""Long side in pixels at which candidates are compared with the map and with each other."""


@dataclass(frozen=True, eq=False)
class _SetPrompt(Prompt):
    """A prompt, and its points and box as the result shows them."""

    prompts: PointPrompts = field(default_factory=no_points)
    bounds: Box | None = None


@dataclass(frozen=True, eq=False)
class Decoded:
    """One prompt set and the segmenter's candidates for it. Nothing is enlarged before it is asked for.

    Attributes:
        source: the prompt set, in pixels of the image.
        frame: the part of the image in which it was decoded.
        prompt: what the segmenter got.
        local: its candidates, in pixels of the part.
        size: (height, width) of the image.
        options: how one of the candidates is chosen.
    """

    source: PromptSet
    frame: Frame
    prompt: _SetPrompt
    local: MaskSet
    size: tuple[int, int]
    options: MaskOptions

    @cached_property
    def found(self) -> MaskSet:
        """The candidates as masks of the image."""
        return self.frame.in_image(self.local, self.size)

    @cached_property
    def agreement(self) -> NDArray[np.float32]:
        """The IoU of each candidate with the component of the map, (C,); 1 where there is no map."""
        region = self.frame.source.region
        if region is None:
            return np.ones(len(self.local), np.float32)
        width_height = (region.shape[1], region.shape[0])
        wanted = inside(region, threshold_of(self.options))
        covered = [
            cv2.resize(mask.view(np.uint8), width_height, interpolation=cv2.INTER_AREA)
            for mask in self.local.at(_compared(self.local.size))
        ]
        return np.array([mask_iou(mask > 0, wanted) for mask in covered], np.float32)

    @cached_property
    def chosen(self) -> int:
        """The index of the best candidate."""
        by = self.options.mask_choice
        if self.frame.source.region is None or by in (None, "score"):
            return self.local.best
        ranks = self.agreement if by == "agreement" else self.local.scores + self.agreement
        return int(ranks.argmax())

    @cached_property
    def small(self) -> NDArray[np.bool_]:
        """The chosen mask reduced to ``COMPARED`` pixels, without specks and holes."""
        small = self.found.mask(self.chosen, _compared(self.size))
        scale = small.shape[1] / self.size[1], small.shape[0] / self.size[0]
        clicks = [(x * scale[0], y * scale[1], foreground) for x, y, foreground in self.source.clicks]
        return tidy(small, self.options.clean, clicks)

    @property
    def score(self) -> float:
        """The segmenter's estimate for the chosen mask."""
        return float(self.local.scores[self.chosen])

    def mask(self) -> NDArray[np.bool_]:
        """The chosen mask at the image's size, (H, W), without specks and holes."""
        return tidy(self.found.mask(self.chosen), self.options.clean, self.source.clicks)

    @cached_property
    def candidates(self) -> Candidates:
        """What a result tells of them."""
        prompts, box = self.prompt.prompts, self.prompt.bounds
        if self.frame.corner is not None:
            top, left = self.frame.corner
            prompts = PointPrompts(prompts.xy + np.array([left, top], np.float32), prompts.labels)
            box = box and (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
        return Candidates(prompts, box, self.local.logits, self.local.scores, self.agreement, self.chosen)


def threshold_of(options: MaskOptions) -> float:
    """The threshold on the min-max map that is in force."""
    return MAP_THRESHOLDS[options.point_rule] if options.map_threshold is None else options.map_threshold


def decode(
    segmenter: Segmenter, encoded: EncodedImage, sets: Sequence[PromptSet], options: MaskOptions
) -> list[Decoded]:
    """The segmenter's candidates for every prompt set; prompts of one form are decoded together."""
    placed = frames(segmenter, encoded, sets, threshold_of(options), options.window is not None)
    prompts = [_prompt(segmenter, frame, options) for frame in placed]

    def decoded() -> list[Decoded]:
        found = _decode_frames(segmenter, placed, prompts)
        return [
            Decoded(*one, encoded.size, options) for one in zip(sets, placed, prompts, found, strict=True)
        ]

    out = decoded()
    if options.refine:
        prompts = [replace(one.prompt, mask=one.local.logits[one.chosen]) for one in out]
        out = decoded()
    return out


def _decode_frames(
    segmenter: Segmenter, placed: Sequence[Frame], prompts: Sequence[_SetPrompt]
) -> list[MaskSet]:
    """The prompts of each embedding together, in the order of ``prompts``."""
    found: dict[int, MaskSet] = {}
    owners: dict[int, list[int]] = {}
    for index, frame in enumerate(placed):
        owners.setdefault(id(frame.embedding), []).append(index)
    for part in owners.values():
        masks = segmenter.decode_many(placed[part[0]].embedding, [prompts[k] for k in part])
        found |= zip(part, masks, strict=True)
    return [found[index] for index in range(len(prompts))]


def _prompt(segmenter: Segmenter, frame: Frame, options: MaskOptions) -> _SetPrompt:
    """Points, box and first mask of one prompt set, as ``options.prompt_with`` says."""
    one, embedding = frame.source, frame.embedding
    prompts, box, mask = one.prompts, one.box, None
    if one.region is not None and options.prompt_with == "map":
        mask = segmenter.prior(embedding, centred(one.region, threshold_of(options)))
    elif one.region is not None and options.prompt_with == "box":
        box = box or bounds(inside(one.region, threshold_of(options)), embedding.size)
        prompts = no_points()
    prompts = one.with_clicks(prompts)
    return _SetPrompt(prompts.xy, prompts.labels, box, mask, prompts=prompts, bounds=box)


def _compared(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, COMPARED / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
