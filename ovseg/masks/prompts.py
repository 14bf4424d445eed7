"""From a text as it is given to its names, and from a map's components and a user's clicks to prompt sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.maps.points import no_points
from ovseg.results.types import PointPrompts
from ovseg.segmenters.prompts import Box
from ovseg.words.names import check_name, in_order, split_text
from ovseg.words.vocabulary import as_vocabulary

Click: TypeAlias = "tuple[float, float, bool]"
"""x, y in pixels of the image; whether it is on the object."""


@dataclass(frozen=True)
class Target:
    """One text as it was asked for, and the names in it: "person+bench" has two, every other text one."""

    text: str
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PromptSet:
    """What is known of one object before the segmenter is asked.

    Attributes:
        prompts: points of the map; clicks are kept apart.
        region: (h, w) in 0..1, the map without its other components; None where there are clicks or a box
            alone.
        box: bounds of the object that a user gave.
        clicks: what a user clicked.
        whole: (h, w) in 0..1, the map with all its components; the prompt sets of one map share it.
    """

    prompts: PointPrompts
    region: NDArray[np.float32] | None = None
    box: Box | None = None
    clicks: tuple[Click, ...] = ()
    whole: NDArray[np.float32] | None = None

    def with_clicks(self, prompts: PointPrompts) -> PointPrompts:
        """``prompts`` and the clicks together, positives first."""
        if not self.clicks:
            return prompts
        xy = np.concatenate([prompts.xy, np.array([click[:2] for click in self.clicks], np.float32)])
        labels = np.concatenate([prompts.labels, np.array([click[2] for click in self.clicks], np.uint8)])
        order = np.argsort(1 - labels, kind="stable")
        return PointPrompts(xy[order], labels[order])


def parse_targets(text: str | Sequence[str]) -> tuple[list[Target], bool]:
    """The targets of a text or a list of texts, and whether the call asks for a list of answers.

    Raises:
        UsageError: there is no text, or one of them is empty or no text.

    >>> targets, several = parse_targets("sky, person+bench")
    >>> [target.names for target in targets], several
    ([('sky',), ('person', 'bench')], True)
    >>> parse_targets(["black, white"])[0][0].names
    ('black, white',)
    """
    if isinstance(text, str):
        texts: tuple[object, ...] = split_text("text", text)
        several = len(texts) > 1
    else:
        texts, several = in_order("texts", text), True
    if not texts:
        raise UsageError("expected at least one text, got none")
    return [_target(check_name(one, "text")) for one in texts], several


def _target(text: str) -> Target:
    return Target(text, as_vocabulary(text.split("+")).names)


def join(sets: Sequence[PromptSet]) -> PromptSet | None:
    """The prompt sets of one map as a single one, or None where there are no several sets of a map."""
    whole = sets[0].whole
    if len(sets) < 2 or whole is None:
        return None
    positives = [one.prompts.positives for one in sets]
    negatives = [one.prompts.negatives for one in sets]
    labels = np.repeat(np.array([1, 0], np.uint8), [sum(map(len, positives)), sum(map(len, negatives))])
    clicks = tuple(dict.fromkeys(click for one in sets for click in one.clicks))
    prompts = PointPrompts(np.concatenate([*positives, *negatives]), labels)
    return PromptSet(prompts, whole, sets[0].box, clicks)


def add_box(sets: Sequence[PromptSet], box: Box | None) -> list[PromptSet]:
    """The sets that have a positive point in the box, cut to it; the box alone where there is none."""
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
    """Background clicks join every set, foreground clicks the nearest; without a set, they make one."""
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
