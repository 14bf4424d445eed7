"""From a word's maps, clicks and a box to prompt sets, one for each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovseg.maps.points import (
    component_points,
    enlarge,
    fine_map,
    no_points,
    normalise,
    paper_points,
    paper_points_of_several,
)
from ovseg.masks.encoded import Rated, Setup
from ovseg.results.base import PointPrompts
from ovseg.segmenters.prompts import Box, check_box

Click: TypeAlias = "tuple[float, float, bool]"
"""x, y in pixels of the image; True on the object, False on the background."""


@dataclass(frozen=True, eq=False)
class PromptSet:
    """The prompts for one object.

    Attributes:
        prompts: points taken from the map, without the clicks.
        region: (h, w) in 0..1, the map reduced to this component; None without a map.
        box: the user's box around the object.
        clicks: the user's clicks.
        whole: (h, w) in 0..1, the map with all components; shared by the prompt sets of one map.
        rival: (h, w) in 0..1, the highest map of the other words, stretched as ``whole`` is.
    """

    prompts: PointPrompts
    region: NDArray[np.float32] | None = None
    box: Box | None = None
    clicks: tuple[Click, ...] = ()
    whole: NDArray[np.float32] | None = None
    rival: NDArray[np.float32] | None = None

    def with_clicks(self, prompts: PointPrompts) -> PointPrompts:
        """``prompts`` followed by the clicks, sorted so that positives come first."""
        if not self.clicks:
            return prompts
        xy = np.concatenate([prompts.xy, np.array([click[:2] for click in self.clicks], np.float32)])
        labels = np.concatenate([prompts.labels, np.array([click[2] for click in self.clicks], np.uint8)])
        order = np.argsort(1 - labels, kind="stable")
        return PointPrompts(xy[order], labels[order])


def cut_box(box: object, size: tuple[int, int]) -> Box:
    """Clip a box x0, y0, x1, y1 to an image of ``size`` (height, width). Raises UsageError."""
    x0, y0, x1, y1 = check_box(box, size).tolist()
    return (x0, y0, x1, y1)


def prompt_sets(
    setup: Setup, rated: Rated, size: tuple[int, int], others: Sequence[NDArray[np.float32]] = ()
) -> tuple[list[PromptSet], str | None]:
    """Prompt sets of the names that are present, and the reason why a name has none.

    Args:
        setup: the options point_rule, map_threshold and halve_grid.
        rated: a word in an image.
        size: (height, width) of the image in pixels.
        others: the maps of other words, on the same grid.
    """
    wanted = rated.word.threshold
    absent = ", ".join(
        f"{name!r} (presence {share:.2f}, needs {wanted:g})"
        for name, share in rated.presence.items()
        if share < wanted
    )
    reason = f"not in this picture: {absent}" if absent else None
    shares = zip(rated.maps, rated.presence.values(), strict=True)
    maps = [values for values, share in shares if share >= wanted]
    if not maps:
        return [], reason
    units = [unit for unit in map(normalise, maps) if unit is not None]
    if not units:
        return [], "the map is the same everywhere: nothing stands out"
    if setup.options.point_rule == "components":
        rivals = [rival_map(values, others, size) for values in maps if normalise(values) is not None]
        return _component_sets(units, size, setup.threshold, rivals), reason
    prompts = (
        paper_points_of_several(np.stack(units), size, setup.threshold, setup.options.halve_grid)
        if len(units) > 1
        else paper_points(units[0], size, setup.threshold, setup.options.halve_grid)
    )
    if not (prompts.labels == 1).any():
        return [], "no place stands out enough for a point"
    return [PromptSet(prompts, enlarge(np.max(units, axis=0), size))], reason


def _component_sets(
    units: Sequence[NDArray[np.float32]],
    size: tuple[int, int],
    threshold: float,
    rivals: Sequence[NDArray[np.float32] | None],
) -> list[PromptSet]:
    sets = []
    for index, (unit, rival) in enumerate(zip(units, rivals, strict=True)):
        others = [other for k, other in enumerate(units) if k != index]
        avoid = np.max(others, axis=0) if others else None
        whole = fine_map(unit, size)
        found = component_points(unit, size, threshold, avoid=avoid)
        sets += [PromptSet(prompts, region, whole=whole, rival=rival) for prompts, region in found]
    return sets


def rival_map(
    values: NDArray[np.float32], others: Sequence[NDArray[np.float32]], size: tuple[int, int]
) -> NDArray[np.float32] | None:
    """The highest of other words' maps on the scale on which ``values`` goes from 0 to 1; None without others."""
    if not others:
        return None
    low, high = float(values.min()), float(values.max())
    unit = ((np.max(others, axis=0) - low) / (high - low)).clip(0, 1).astype(np.float32)
    return enlarge(unit, size)


def join(sets: Sequence[PromptSet]) -> PromptSet | None:
    """Join the prompt sets of one map; None if there is only one, or no map of components."""
    whole = sets[0].whole
    if len(sets) < 2 or whole is None:
        return None
    positives = [one.prompts.positives for one in sets]
    negatives = [one.prompts.negatives for one in sets]
    labels = np.repeat(np.array([1, 0], np.uint8), [sum(map(len, positives)), sum(map(len, negatives))])
    clicks = tuple(dict.fromkeys(click for one in sets for click in one.clicks))
    prompts = PointPrompts(np.concatenate([*positives, *negatives]), labels)
    return PromptSet(prompts, whole, sets[0].box, clicks, rival=sets[0].rival)


def add_box(sets: Sequence[PromptSet], box: Box | None) -> list[PromptSet]:
    """Keep the sets with a positive point in the box, and their points in it; else the box alone."""
    if box is None:
        return list(sets)
    kept = []
    for one in sets:
        xy, labels = one.prompts.xy, one.prompts.labels
        inside = (xy >= box[:2]).all(1) & (xy <= box[2:]).all(1)
        keep = inside | (labels == 0)
        if (inside & (labels == 1)).any():
            kept.append(replace(one, prompts=PointPrompts(xy[keep], labels[keep]), box=box))
    return kept or [PromptSet(no_points(), None, box)]


def add_clicks(sets: Sequence[PromptSet], clicks: Sequence[Click]) -> list[PromptSet]:
    """Add background clicks to every set, foreground clicks to the nearest, or to a new set if there is none."""
    if not sets and any(foreground for _, _, foreground in clicks):
        sets = [PromptSet(no_points())]
    out = list(sets)
    for click in clicks:
        chosen = range(len(out))
        if click[2] and len(out) > 1:
            place = np.array(click[:2], np.float32)
            distances = [np.linalg.norm(one.prompts.positives - place, axis=1).min() for one in sets]
            nearest = int(np.argmin(distances))
            chosen = range(nearest, nearest + 1)
        for index in chosen:
            out[index] = replace(out[index], clicks=(*out[index].clicks, click))
    return out
