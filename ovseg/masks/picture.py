"""The answers to several texts as one picture, for the command line and the demo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ovseg.masks.results import TextMasks
from ovseg.results import figures


def draw_answers(image: NDArray[np.uint8], answers: Sequence[TextMasks]) -> NDArray[np.uint8]:
    """Draw every mask in the colour of its text, the points on top, and a legend below.

    Args:
        image: (H, W, 3) uint8 RGB, the image that the answers are of.
        answers: one for each text.

    Returns:
        (H', W', 3) uint8 RGB, with the legend at the bottom and padding where the image is narrow.
    """
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
