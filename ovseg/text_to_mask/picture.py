"""The answers to some texts as one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ovseg import figures
from ovseg.text_to_mask.results import TextMasks


def draw_answers(image: np.ndarray, answers: Sequence[TextMasks]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: every mask in its text's colour, the points on top, a legend below."""
    colours = [tuple(colour) for colour in figures.palette(len(answers)).tolist()]
    picture = image
    for found, colour in zip(answers, colours, strict=True):
        for mask in found.masks:
            picture = figures.overlay_mask(picture, mask, colour)
    for found in answers:
        for prompts in found.points:
            picture = figures.draw_points(picture, prompts.xy, prompts.labels)
    entries = [
        (f"{found.text}: {len(found) or 'not there'}", colour)
        for found, colour in zip(answers, colours, strict=True)
    ]
    return figures.with_legend(picture, entries)
