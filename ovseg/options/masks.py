"""The choices of ``TextToMask``: from the map of a text to points, prompts and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ovseg.options.fields import FLAG, SOME_WORDS, choice, documented, number, option
from ovseg.options.models import InputChoices, InputOptions

MAP_THRESHOLDS = {"components": 0.6, "paper": 0.8}
"""The rules for points, and the threshold of each on the min-max map where none is given."""
POINT_RULES = tuple(MAP_THRESHOLDS)
PROMPTS = ("points", "map", "box")
MASK_CHOICES = ("score", "agreement", "both")
RIVALS: tuple[str, ...] = tuple(
    "person, animal, car, building, house, tree, grass, sky, water, road, wall, floor, furniture, table, "
    "food, plant, flower, mountain, sand, snow, bird, dog, cat, boat, sign, cloth, book, bottle, shape, "
    "pattern, background".split(", ")
)
"""Everyday words that a text is compared with to decide whether it is in the picture."""


@documented
@dataclass(frozen=True, kw_only=True)
class MaskOptions(InputOptions):
    """How a text becomes masks (``ovseg.TextToMask``)."""

    point_rule: str = option(
        "components",
        choice(POINT_RULES),
        "How points are picked: components (a few for each part of the map, a mask for each object) or "
        "paper (a mask for each text).",
    )
    map_threshold: float | None = option(
        None,
        number(0, 1),
        "Points come from where the min-max map is above this, 0..1. Without it: the rule's own, "
        f"{MAP_THRESHOLDS['components']} and {MAP_THRESHOLDS['paper']}.",
    )
    halve_grid: bool = option(
        False, FLAG, "Halve the map before points are picked, as the public code does (point rule paper)."
    )
    prompt_with: str | None = option(
        None,
        choice(PROMPTS, none=True),
        "What the segmenter gets: points alone, the map's part as a first mask besides, or its box in their "
        "place. Without it: map where the segmenter accepts such masks, points otherwise.",
    )
    mask_choice: str | None = option(
        None,
        choice(MASK_CHOICES, none=True),
        "Which of the segmenter's candidates is taken: by its score, its agreement with the map, or both. "
        "Without it: score where the segmenter predicts the IoU of its masks, agreement otherwise.",
    )
    refine: bool = option(False, FLAG, "Ask the segmenter once more, with its own mask.")
    clean: float = option(
        0.02, number(0, 1), "Remove specks and holes below this share of a mask, 0..1; 0 keeps them."
    )
    presence_threshold: float = option(
        0.5, number(0, 1), "A text whose presence is below this gets no mask, 0..1; 0: always a mask."
    )
    rivals: Sequence[str] = option(
        RIVALS,
        SOME_WORDS,
        "Words that a text is compared with, for its presence and at every place. "
        "Without it: 31 everyday words.",
    )


class MaskChoices(InputChoices, total=False):
    """Keywords of ``MaskOptions``; a test holds them equal."""

    point_rule: str
    map_threshold: float | None
    halve_grid: bool
    prompt_with: str | None
    mask_choice: str | None
    refine: bool
    clean: float
    presence_threshold: float
    rivals: Sequence[str]
