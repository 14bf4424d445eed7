"""Prompt sets to the masks of an answer: decode all together, choose, and keep each object once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ovseg.masks.decoder import Decoded, decode, threshold_of
from ovseg.masks.encoded import EncodedImage, is_small
from ovseg.masks.prompts import PromptSet, join
from ovseg.masks.results import TextMasks
from ovseg.masks.shapes import expected_iou, objects
from ovseg.metrics import mask_iou
from ovseg.options import MaskOptions
from ovseg.segmenters.base import Segmenter

SAME = 0.8
"""Two masks with a larger IoU are one object that was found twice."""


def answer(
    segmenter: Segmenter,
    encoded: EncodedImage,
    sets: Sequence[PromptSet],
    options: MaskOptions,
    empty: TextMasks,
) -> TextMasks:
    """The masks of all prompt sets in ``empty``, an answer without masks; all sets are decoded together."""
    found = next(found_objects(segmenter, encoded, [sets], options))
    if not found:
        return replace(empty, reason=empty.reason or "the segmenter found no region at these points")
    sources, masks = [one for one, _ in found], [mask for _, mask in found]
    del found  # so that each mask can go when it is stacked
    return replace(
        empty,
        masks=_stacked(masks),
        scores=np.array([one.score for one in sources], np.float32),
        candidates=tuple(one.candidates for one in sources),
    )


def found_objects(
    segmenter: Segmenter,
    encoded: EncodedImage,
    questions: Sequence[Sequence[PromptSet]],
    options: MaskOptions,
) -> Iterator[list[tuple[Decoded, NDArray[np.bool_]]]]:
    """The masks (H, W) of several questions and what each was decoded from; one call of the decoder for all.

    The masks of each question are enlarged to the image's size when it is asked for.

    Args:
        segmenter: decodes the prompts.
        encoded: the image.
        questions: the prompt sets of each.
        options: how masks are chosen.
    """
    plans = []
    asked: list[PromptSet] = []
    for sets in questions:
        groups = [list(group) for _, group in itertools.groupby(sets, key=lambda one: id(one.whole))]
        joints = [_joint(group, encoded.size, options) for group in groups]
        asked += [*itertools.chain(*groups), *(one for one in joints if one is not None)]
        plans.append((groups, joints))
    decoded = iter(decode(segmenter, encoded, asked, options))
    for groups, joints in plans:
        several = [list(itertools.islice(decoded, len(group))) for group in groups]
        together = [None if joint is None else next(decoded) for joint in joints]
        yield _each_once(several, together)


def _each_once(
    several: list[list[Decoded]], together: list[Decoded | None]
) -> list[tuple[Decoded, NDArray[np.bool_]]]:
    """The masks of one question, each object once."""
    kept: list[tuple[Decoded, NDArray[np.bool_]]] = []
    areas: list[int] = []
    for parts, whole in zip(several, together, strict=True):
        for source, mask in _objects(parts, whole):
            # Two prompt sets on one object give the same mask twice; the stronger component comes first.
            area = int(np.count_nonzero(mask))
            if area and not any(
                _same(mask, other, area, size) for (_, other), size in zip(kept, areas, strict=True)
            ):
                kept.append((source, mask))
                areas.append(area)
    return kept


def _same(one: NDArray[np.bool_], other: NDArray[np.bool_], area: int, size: int) -> bool:
    """Whether two masks of ``area`` and ``size`` pixels are one object; their IoU is below min / max."""
    return min(area, size) > SAME * max(area, size) and mask_iou(one, other) > SAME


def _joint(group: Sequence[PromptSet], size: tuple[int, int], options: MaskOptions) -> PromptSet | None:
    """The sets of one map as a single one, or None where there is one set only, or all are small objects."""
    if options.window is not None and all(is_small(one, size, threshold_of(options)) for one in group):
        return None
    return join(group)


def _objects(parts: list[Decoded], whole: Decoded | None) -> Iterable[tuple[Decoded, NDArray[np.bool_]]]:
    """The masks of one map's prompt sets at the image's size, one for each object.

    A map often has several components on one object, so the sets were also decoded as one. That answer is
    taken if it covers most of the several masks and fits the map better than they do. Either way, parts of a
    mask that are not connected and have a positive point each are different objects.
    """
    if whole is None:
        return ((one, one.mask()) for one in parts)
    answers = [whole] if _fits_better(whole, parts) else parts
    places = whole.source.prompts.positives  # without the clicks, which add to an object
    return ((one, mask) for one in answers for mask in objects(one.mask(), places))


def _fits_better(whole: Decoded, parts: list[Decoded]) -> bool:
    assert whole.source.region is not None
    union = np.any([one.small for one in parts], axis=0)
    if 2 * (whole.small & union).sum() < union.sum():
        return False
    return expected_iou(whole.small, whole.source.region) > expected_iou(union, whole.source.region)


def _stacked(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """(M, H, W); each mask is let go when it has been copied, and a single one is not copied."""
    if len(masks) == 1:
        return masks[0][None]
    out = np.empty((len(masks), *masks[0].shape), bool)
    for index in range(len(masks)):
        out[index] = masks[index]
        masks[index] = out[index]
    return out
