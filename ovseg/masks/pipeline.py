"""The steps from an image and a text to masks, as functions of their arguments.

image ─┬─ CLIP, once ──── text_maps ── presence? ── prompt_sets ─┐
       └─ segmenter's encoder, once ─────────────────────────────┴─ decode ─ choose ─ merge ─> TextMasks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.files.cache import frozen
from ovseg.maps.points import (
    component_points,
    enlarge,
    fine_map,
    normalise,
    paper_points,
    paper_points_of_several,
)
from ovseg.masks.decoder import threshold_of
from ovseg.masks.decoding import answer
from ovseg.masks.encoded import EncodedImage
from ovseg.masks.prompts import Click, PromptSet, Target, add_box, add_clicks
from ovseg.masks.results import TextMasks, no_masks
from ovseg.masks.scores import TextScores, maps_and_presences
from ovseg.model import Model
from ovseg.options import MaskOptions
from ovseg.segmenters.base import Segmenter
from ovseg.segmenters.prompts import Box
from ovseg.words.names import fold


def resolved(options: MaskOptions, segmenter: Segmenter) -> MaskOptions:
    """The options with None replaced by what the rule and the segmenter decide."""
    threshold = threshold_of(options)
    prompt_with = options.prompt_with or ("map" if segmenter.accepts_mask_prompt else "points")
    mask_choice = options.mask_choice or ("score" if segmenter.predicts_iou else "agreement")
    return replace(options, map_threshold=threshold, prompt_with=prompt_with, mask_choice=mask_choice)


@dataclass(frozen=True, eq=False)
class Setup:
    """What predictor and session share: both models, and the options that are in force."""

    model: Model
    segmenter: Segmenter
    options: MaskOptions
    logit_scale: float


@torch.no_grad()
def encode_image(setup: Setup, image: NDArray[np.uint8]) -> EncodedImage:
    """An (H, W, 3) uint8 RGB image through both encoders; copied, as the caller may change the array."""
    kept = frozen(image)
    features = setup.model.dense_features(kept, options=setup.options)
    embedding = setup.segmenter.encode(kept)
    return EncodedImage(kept, features, embedding)


def text_features(setup: Setup, names: Sequence[str]) -> dict[str, Tensor]:
    """The unit feature (D,) of each name, each distractor and the empty string. Raises UsageError."""
    wanted = [*dict.fromkeys([*names, *setup.options.rivals]), ""]
    rows = setup.model.encode_text(wanted, setup.options.templates)
    return dict(zip(wanted, rows, strict=True))


def find(
    setup: Setup,
    encoded: EncodedImage,
    target: Target | None,
    features: dict[str, Tensor],
    box: Box | None = None,
    clicks: Sequence[Click] = (),
) -> TextMasks:
    """The answer to a text, a box and clicks, each of which may be missing."""
    maps = np.zeros((0, *encoded.features.grid), np.float32)
    shares: dict[str, float] = {}
    sets: list[PromptSet] = []
    reason = None
    if target is not None:
        maps, shares = text_maps(setup, encoded, target.names, features)
        sets, reason = prompt_sets(encoded.size, maps, shares, setup.options)
    elif not clicks and box is None:
        reason = "nothing asked yet: expected a text, a click or a box"
    sets = add_clicks(add_box(sets, box), clicks)
    if not sets and reason is None:
        reason = "only background clicks: expected a text, a foreground click or a box"
    empty = no_masks(target.text if target else "", encoded.size, shares, maps, reason)
    return answer(setup.segmenter, encoded, sets, setup.options, empty)


# ---------------------------------------------------------------------------------------- text to maps


@torch.no_grad()
def text_maps(
    setup: Setup, encoded: EncodedImage, names: Sequence[str], features: dict[str, Tensor]
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """The maps that points are taken from, and how likely each name is in the image.

    See ``maps_and_presences``; a name is no rival of itself.

    Args:
        setup: the model, and the options rule and rivals.
        encoded: the image.
        names: K names.
        features: the unit feature (D,) of each name, each distractor and the empty string.

    Returns:
        (K, h, w) maps, and the presence of each name in 0..1.
    """
    asked = {fold(name) for name in names}  # to CLIP "Sky" and "sky" are one text: no rivals of each other
    rivals = [name for name in setup.options.rivals if fold(name) not in asked]
    text = torch.stack([features[name] for name in [*names, *rivals]])
    scores = TextScores.of(encoded.features, text, features[""][None])
    count = len(names)
    maps, shares = maps_and_presences(
        scores.of_texts(range(count)),
        scores.of_texts(range(count, len(text))),
        setup.options.point_rule,
        setup.logit_scale,
        setup.model.logit_bias,
    )
    grid = encoded.features.grid
    return maps.T.reshape(count, *grid).astype(np.float32), dict(zip(names, shares.tolist(), strict=True))


# ------------------------------------------------------------------------------------- maps to prompts


def prompt_sets(
    size: tuple[int, int], maps: NDArray[np.float32], shares: dict[str, float], options: MaskOptions
) -> tuple[list[PromptSet], str | None]:
    """Prompt sets of the names that are present, and why a name, or every name, has none.

    Args:
        size: (height, width) of the image in pixels.
        maps: (K, h, w), one for each name.
        shares: the presence of each name.
        options: rule, threshold, halve, presence_threshold.
    """
    wanted = options.presence_threshold
    there = [k for k, share in enumerate(shares.values()) if share >= wanted]
    absent = ", ".join(
        f"{name!r} (presence {share:.2f}, expected {wanted:g})"
        for name, share in shares.items()
        if share < wanted
    )
    reason = f"not in this picture: {absent}" if absent else None
    if not there:
        return [], reason
    units = [unit for unit in (normalise(maps[k]) for k in there) if unit is not None]
    if not units:
        return [], "the map is the same everywhere: nothing stands out"
    threshold = threshold_of(options)
    if options.point_rule == "paper":
        prompts = (
            paper_points_of_several(np.stack(units), size, threshold, options.halve_grid)
            if len(units) > 1
            else paper_points(units[0], size, threshold, options.halve_grid)
        )
        if not (prompts.labels == 1).any():
            return [], "no place stands out enough for a point"
        return [PromptSet(prompts, enlarge(np.max(units, axis=0), size))], reason
    sets: list[PromptSet] = []
    for index, unit in enumerate(units):
        others = [other for k, other in enumerate(units) if k != index]
        avoid = np.max(others, axis=0) if others else None
        whole = fine_map(unit, size)
        for prompts, region in component_points(unit, size, threshold, avoid=avoid):
            sets.append(PromptSet(prompts, region, whole=whole))
    return sets, reason
