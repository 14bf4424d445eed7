"""Masks, maps and clicks over the photograph, at the size of a screen."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.apps.page.answers import Answer, View
from ovseg.apps.page.screen import resized
from ovseg.maps.points import normalise
from ovseg.masks.exclusive import Found
from ovseg.results import figures

THUMBNAIL = 108
"""The height in pixels of the map beside a word."""
MASKS, MAP, PHOTO = "Masks", "Map", "Photo"
SHOWN = (MASKS, MAP, PHOTO)


def draw_view(view: View, what: str = MASKS) -> NDArray[np.uint8] | None:
    """The photograph with what is known of it.

    Args:
        view: what there is to see.
        what: one of ``SHOWN``: the masks of all words, those of the chosen word stronger, with its clicks;
            the map of the chosen word; or the photograph alone.

    Returns:
        (h, w, 3) uint8 RGB of the size of ``view.shown``; None where there is no picture.
    """
    if view.picture is None or view.shown is None:
        return None
    size = view.picture.shape[0], view.picture.shape[1]
    small, (height, width) = view.shown, (view.shown.shape[0], view.shown.shape[1])
    chosen = next((one for one in view.answers if one.word == view.chosen), None)
    if what == MAP and chosen is not None:
        return _over_map(small, chosen, 0.55)
    if what == MASKS:
        for answer, colour in zip(view.answers, word_colours(len(view.answers)), strict=True):
            opacity = 0.55 if answer is chosen else 0.35
            for found in answer.found:
                mask = _shown_mask(found, size, (height, width))
                small = figures.overlay_mask(small, mask, colour, opacity)
        if chosen is not None and chosen.clicks:
            xy = np.array([click[:2] for click in chosen.clicks]) * [width / size[1], height / size[0]]
            small = figures.draw_points(small, xy, np.array([click[2] for click in chosen.clicks]))
    return small


def word_colours(count: int) -> list[tuple[int, int, int]]:
    """The colour of each of ``count`` words."""
    return [(int(red), int(green), int(blue)) for red, green, blue in figures.palette(count)]


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photograph at the height of a thumbnail."""
    height, width = picture.shape[:2]
    return resized(picture, (THUMBNAIL, max(1, min(4 * THUMBNAIL, round(width * THUMBNAIL / height)))))


def draw_thumbnail(small: NDArray[np.uint8], answer: Answer) -> str:
    """The map of one word over the small photograph, grey where it is absent, as an inline JPEG's address."""
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


def _shown_mask(found: Found, size: tuple[int, int], shown: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of a picture of ``size`` in a picture of the size ``shown``; single pixels stay visible."""
    down, across = shown[0] / size[0], shown[1] / size[1]
    x0, y0, x1, y1 = found.box
    top, left = min(round(y0 * down), shown[0] - 1), min(round(x0 * across), shown[1] - 1)
    bottom, right = max(top + 1, round(y1 * down)), max(left + 1, round(x1 * across))
    shades = resized(found.crop.astype(np.uint8) * 255, (bottom - top, right - left))
    out = np.zeros(shown, bool)
    out[top:bottom, left:right] = shades > (0 if down < 1 else 127)
    return out
