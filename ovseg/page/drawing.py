"""Masks, maps and clicks over the photograph, at the size of a screen."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg import figures
from ovseg.maps.points import normalise
from ovseg.page.answers import Answer
from ovseg.page.session import View

SIDE = 1280
"""The long side in pixels of what is shown. Smaller photographs are enlarged: where a browser enlarges a
picture, Gradio tells the places of clicks wrongly."""
THUMBNAIL = 108
"""The height in pixels of the map beside a word."""
MASKS, MAP, PHOTO = "Masks", "Map", "Photo"
SHOWN = (MASKS, MAP, PHOTO)


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which a picture of ``size`` is shown.

    >>> shown_size((3000, 4000)), shown_size((400, 300))
    ((960, 1280), (1280, 960))
    """
    scale = SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw_view(view: View, what: str = MASKS) -> NDArray[np.uint8] | None:
    """The photograph with what is known of it.

    Args:
        view: what there is to see.
        what: one of ``SHOWN``: the masks of all words, those of the chosen word stronger, with its clicks;
            the map of the chosen word; or the photograph alone.

    Returns:
        (h, w, 3) uint8 RGB whose long side has ``SIDE`` pixels; None where there is no picture.
    """
    if view.picture is None:
        return None
    size = view.picture.shape[0], view.picture.shape[1]
    height, width = shown_size(size)
    small = _resized(view.picture, (height, width))
    chosen = next((one for one in view.answers if one.word == view.chosen), None)
    if what == MAP and chosen is not None:
        return _over_map(small, chosen, 0.55)
    if what == MASKS:
        for answer, colour in zip(view.answers, word_colours(len(view.answers)), strict=True):
            opacity = 0.55 if answer is chosen else 0.35
            for found in answer.found:
                mask = _shown_mask(found.mask(size), (height, width))
                small = figures.overlay_mask(small, mask, colour, opacity)
        if chosen is not None and chosen.clicks:
            xy = np.array([click[:2] for click in chosen.clicks]) * [width / size[1], height / size[0]]
            small = figures.draw_points(small, xy, np.array([click[2] for click in chosen.clicks]))
    return small


def word_colours(count: int) -> list[tuple[int, int, int]]:
    """The colour of each of ``count`` words."""
    return [(int(red), int(green), int(blue)) for red, green, blue in figures.palette(count)]


def draw_thumbnail(picture: NDArray[np.uint8], answer: Answer) -> str:
    """The map of one word over the small photograph, grey where it is absent, as an inline JPEG's address."""
    height, width = picture.shape[:2]
    small = _resized(picture, (THUMBNAIL, max(1, round(width * THUMBNAIL / height))))
    drawn = _over_map(small, answer, 0.6)
    if not answer.found:
        grey = cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)
        drawn = np.repeat(grey[..., None], 3, axis=2)
    kept = io.BytesIO()
    Image.fromarray(drawn).save(kept, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(kept.getvalue()).decode()


def _over_map(picture: NDArray[np.uint8], answer: Answer, opacity: float) -> NDArray[np.uint8]:
    unit = normalise(answer.map)
    if unit is None:  # the same everywhere
        return picture
    size = (picture.shape[1], picture.shape[0])
    values = cv2.resize(unit.astype(np.float32), size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return figures.overlay_heat(picture, values, opacity)


def _shown_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at another size; where it shrinks, single pixels stay visible."""
    shades = _resized(mask.astype(np.uint8) * 255, size)
    return np.asarray(shades > (0 if size[0] < mask.shape[0] else 127))


def _resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if picture.shape[:2] == size:
        return picture
    how = cv2.INTER_AREA if size[0] < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=how))
