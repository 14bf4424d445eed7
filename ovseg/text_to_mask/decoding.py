"""Prompt sets to masks: decode all of them together, choose among the candidates, merge what is one object.

Candidates are compared at no more than ``COMPARED`` pixels; only what is handed out is enlarged to the
image's size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.maps.points import no_points
from ovseg.metrics import mask_iou
from ovseg.options import THRESHOLDS, MaskOptions
from ovseg.segmenters.base import MaskSet, Segmenter
from ovseg.segmenters.prompts import Box, Prompt
from ovseg.text_to_mask.encoded import EncodedImage, Frame, frames, is_small
from ovseg.text_to_mask.prompts import PromptSet, join
from ovseg.text_to_mask.results import Candidates, TextMasks
from ovseg.text_to_mask.shapes import bounds, centred, expected_iou, inside, objects, tidy
from ovseg.types import PointPrompts

COMPARED = 256
"""Long side in pixels at which candidates are compared with the map and with each other."""
SAME = 0.8
"""Two masks with a larger IoU are one object that was found twice."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """One prompt set, its candidates, and the chosen one reduced to ``COMPARED`` pixels, ``small``."""

    source: PromptSet
    found: MaskSet
    candidates: Candidates
    small: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _SetPrompt(Prompt):
    """A prompt, and its points and box as the result shows them."""

    prompts: PointPrompts = field(default_factory=no_points)
    bounds: Box | None = None


def threshold_of(options: MaskOptions) -> float:
    """The threshold on the min-max map that is in force."""
    return THRESHOLDS[options.rule] if options.threshold is None else options.threshold


def answer(
    segmenter: Segmenter,
    encoded: EncodedImage,
    sets: Sequence[PromptSet],
    options: MaskOptions,
    empty: TextMasks,
) -> TextMasks:
    """The masks of all prompt sets in ``empty``, an answer without masks; all sets are decoded together."""
    return next(answers(segmenter, encoded, [(sets, empty)], options))


def answers(
    segmenter: Segmenter,
    encoded: EncodedImage,
    questions: Sequence[tuple[Sequence[PromptSet], TextMasks]],
    options: MaskOptions,
) -> Iterator[TextMasks]:
    """``answer`` to several questions, each its prompt sets and its empty answer; one call of the decoder.

    The masks of each are enlarged to the image's size when it is asked for.
    """
    plans = []
    asked: list[PromptSet] = []
    for sets, _ in questions:
        groups = [list(group) for _, group in itertools.groupby(sets, key=lambda one: id(one.whole))]
        joints = [_joint(group, encoded.size, options) for group in groups]
        asked += [*itertools.chain(*groups), *(one for one in joints if one is not None)]
        plans.append((groups, joints))
    decoded = iter(decode(segmenter, encoded, asked, options))
    for (groups, joints), (_, empty) in zip(plans, questions, strict=True):
        several = [list(itertools.islice(decoded, len(group))) for group in groups]
        together = [None if joint is None else next(decoded) for joint in joints]
        yield _merged(several, together, options, empty)


def _merged(
    several: list[list[Decoded]], together: list[Decoded | None], options: MaskOptions, empty: TextMasks
) -> TextMasks:
    """The masks of one answer, each object once."""
    kept: list[NDArray[np.bool_]] = []
    sources: list[Decoded] = []
    for parts, whole in zip(several, together, strict=True):
        for source, mask in _objects(parts, whole, options):
            # Two prompt sets on one object give the same mask twice; the stronger component comes first.
            if mask.any() and not any(mask_iou(mask, other) > SAME for other in kept):
                kept.append(mask)
                sources.append(source)
    if not kept:
        return replace(empty, reason=empty.reason or "the segmenter found no region at these points")
    return replace(
        empty,
        masks=_stacked(kept),
        scores=np.array([one.candidates.scores[one.candidates.chosen] for one in sources], np.float32),
        candidates=tuple(one.candidates for one in sources),
    )


def decode(
    segmenter: Segmenter, encoded: EncodedImage, sets: Sequence[PromptSet], options: MaskOptions
) -> list[Decoded]:
    """The segmenter's candidates for every prompt set, and the choice among them."""
    placed = frames(segmenter, encoded, sets, threshold_of(options), options.window is not None)
    prompts = [_prompt(segmenter, frame, options) for frame in placed]
    found = _decode_frames(segmenter, placed, prompts)
    if options.refine:
        best = [
            candidates.logits[_choose(candidates, frame.source, options)[0]]
            for candidates, frame in zip(found, placed, strict=True)
        ]
        prompts = [replace(prompt, mask=mask) for prompt, mask in zip(prompts, best, strict=True)]
        found = _decode_frames(segmenter, placed, prompts)
    return [
        _decoded(one, frame, prompt, candidates, encoded.size, options)
        for one, frame, prompt, candidates in zip(sets, placed, prompts, found, strict=True)
    ]


def _joint(group: Sequence[PromptSet], size: tuple[int, int], options: MaskOptions) -> PromptSet | None:
    """The sets of one map as a single one, or None where there is one set only, or all are small objects."""
    if options.window is not None and all(is_small(one, size, threshold_of(options)) for one in group):
        return None
    return join(group)


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


def _choose(
    found: MaskSet, one: PromptSet, options: MaskOptions
) -> tuple[int, NDArray[np.float32], NDArray[np.bool_]]:
    """The index of the best candidate, each one's agreement with the map, and the best one, reduced."""
    small = found.at(_compared(found.size))
    if one.region is None:
        return found.best, np.ones(len(found), np.float32), small[found.best]
    width_height = (one.region.shape[1], one.region.shape[0])
    wanted = inside(one.region, threshold_of(options))
    covered = [
        cv2.resize(mask.astype(np.uint8), width_height, interpolation=cv2.INTER_AREA) for mask in small
    ]
    agreement = np.array([mask_iou(mask > 0, wanted) for mask in covered], np.float32)
    ranks = {"score": found.scores, "agreement": agreement, "both": found.scores + agreement}
    best = int(ranks[options.select_by or "score"].argmax())
    return best, agreement, small[best]


def _decoded(
    source: PromptSet,
    frame: Frame,
    prompt: _SetPrompt,
    found: MaskSet,
    size: tuple[int, int],
    options: MaskOptions,
) -> Decoded:
    chosen, agreement, small = _choose(found, frame.source, options)
    prompts, box = prompt.prompts, prompt.bounds
    if frame.corner is not None:
        top, left = frame.corner
        found = frame.in_image(found, size)
        small = found.at(_compared(size))[chosen]
        prompts = PointPrompts(prompts.xy + np.array([left, top], np.float32), prompts.labels)
        box = box and (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    candidates = Candidates(prompts, box, found.logits, found.scores, agreement, chosen)
    scale = small.shape[1] / size[1], small.shape[0] / size[0]
    clicks = [(x * scale[0], y * scale[1], foreground) for x, y, foreground in source.clicks]
    return Decoded(source, found, candidates, tidy(small, options.clean, clicks))


def _compared(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, COMPARED / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _objects(
    parts: list[Decoded], whole: Decoded | None, options: MaskOptions
) -> Iterable[tuple[Decoded, NDArray[np.bool_]]]:
    """The masks of one map's prompt sets at the image's size, one for each object.

    A map often has several components on one object, so the sets were also decoded as one. That answer is
    taken if it covers most of the several masks and fits the map better than they do. Either way, parts of a
    mask that are not connected and have a positive point each are different objects.
    """
    if whole is None:
        return ((one, _full(one, options)) for one in parts)
    answers = [whole] if _fits_better(whole, parts) else parts
    places = whole.source.prompts.positives  # without the clicks, which add to an object
    return ((one, mask) for one in answers for mask in objects(_full(one, options), places))


def _fits_better(whole: Decoded, parts: list[Decoded]) -> bool:
    assert whole.source.region is not None
    union = np.any([one.small for one in parts], axis=0)
    if 2 * (whole.small & union).sum() < union.sum():
        return False
    return expected_iou(whole.small, whole.source.region) > expected_iou(union, whole.source.region)


def _full(one: Decoded, options: MaskOptions) -> NDArray[np.bool_]:
    """The chosen mask at the image's size, without specks and holes."""
    return tidy(one.found.mask(one.candidates.chosen), options.clean, one.source.clicks)


def _stacked(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """(M, H, W); each mask is let go when it has been copied, and a single one is not copied."""
    if len(masks) == 1:
        return masks[0][None]
    out = np.empty((len(masks), *masks[0].shape), bool)
    for index in range(len(masks)):
        out[index] = masks[index]
        masks[index] = out[index]
    return out
