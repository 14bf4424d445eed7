"""Masks, maps and clicks over the photograph, at the size of a screen."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.apps.page.answers import Answer, View
from ovseg.apps.page.screen import resized
from ovseg.maps.points import normalise
from ovseg.masks.exclusive import Found
from ovseg.results import figures

THUMBNAIL = 108
"""The height in pixels of the map beside a word."""
MASKS, MAP, PHOTO = "Masks", "Map", "Photo"
SHOWN = (MASKS, MAP, PHOTO)
APART = 45.0
"""Least distance in L*a*b* of a word's colour to the photo below it, and to the colours of words before it."""
CHOICES, NEIGHBOURS = 21, 6
"""Colours to choose from, and words before whose colours are avoided."""


def draw_view(view: View, what: str = MASKS) -> NDArray[np.uint8] | None:
    """Draw the photo with its masks, or with the map of the chosen word.

    Args:
        view: the current view.
        what: one of ``SHOWN``: the masks of all words, those of the chosen word stronger, with its clicks;
            the map of the chosen word; or the photograph alone.

    Returns:
        (h, w, 3) uint8 RGB of the size of ``view.shown``; None where there is no picture.
    """
    if view.picture is None or view.shown is None:
        return None
    chosen = next((one for one in view.answers if one.word == view.chosen), None)
    if what == MAP and chosen is not None:
        return _over_map(view.shown, chosen, 0.55)
    return _over_masks(view.shown, view, chosen) if what == MASKS else view.shown


def word_colours(view: View) -> list[tuple[int, int, int]]:
    """A colour for each word that stands out against the photo where the word is, and from earlier words' colours.

    A word keeps the palette's colour of its place in the list if that is far enough from both, so that it has
    the same colour in most photos; otherwise it gets the one of the palette that is farthest.
    """
    choices = figures.palette(max(CHOICES, len(view.answers)))
    lab = _as_lab(choices)
    taken: list[int] = []
    for place, answer in enumerate(view.answers):
        below = [] if view.shown is None else [_lab_below(view.shown, answer)]
        avoided = np.stack([*below, *lab[taken[-NEIGHBOURS:]], np.full(3, np.inf, np.float32)])
        distance = _nearest(lab, avoided)
        taken.append(place if distance[place] >= APART else int(distance.argmax()))
    return [(int(red), int(green), int(blue)) for red, green, blue in choices[taken]]


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photograph at the height of a thumbnail."""
    height, width = picture.shape[:2]
    return resized(picture, (THUMBNAIL, max(1, min(4 * THUMBNAIL, round(width * THUMBNAIL / height)))))


def draw_thumbnail(small: NDArray[np.uint8], answer: Answer) -> NDArray[np.uint8]:
    """The map of one word over the small photograph, grey where the word has no mask."""
    drawn = _over_map(small, answer, 0.6)
    if answer.found:
        return drawn
    return np.repeat(cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _over_masks(small: NDArray[np.uint8], view: View, chosen: Answer | None) -> NDArray[np.uint8]:
    """All masks; the chosen word's are stronger, lie above the others and alone have a wide white outline."""
    assert view.picture is not None
    size, shown = (view.picture.shape[0], view.picture.shape[1]), (small.shape[0], small.shape[1])
    coloured = list(zip(view.answers, word_colours(view), strict=True))
    for answer, colour in sorted(coloured, key=lambda one: one[0] is chosen):
        for found in answer.found:
            mask = _shown_mask(found, size, shown)
            small = figures.fill_mask(small, mask, colour, 0.6 if answer is chosen else 0.35)
            small = figures.outlined(small, mask, figures.PAPER if answer is chosen else colour)
    if chosen is not None and chosen.clicks:
        xy = np.array([click[:2] for click in chosen.clicks]) * [shown[1] / size[1], shown[0] / size[0]]
        small = figures.draw_points(small, xy, np.array([click[2] for click in chosen.clicks]))
    return small


def _lab_below(shown: NDArray[np.uint8], answer: Answer) -> NDArray[np.float32]:
    """The mean colour of the photo where the word's map is high, (3,) in L*a*b*; of all of it for a flat map."""
    height, width = answer.map.shape
    pixels = _as_lab(resized(shown, (height, width)).reshape(-1, 3))
    unit = normalise(answer.map)
    weights = np.ones(height * width) if unit is None else (np.asarray(unit).ravel() >= 0.5).astype(float)
    return np.asarray(np.average(pixels, axis=0, weights=weights), np.float32)


def _as_lab(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colours (K, 3) uint8 RGB in L*a*b*, whose distances are those that are seen."""
    return np.asarray(cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0])


def _nearest(colours: NDArray[np.float32], avoided: NDArray[np.float32]) -> NDArray[np.float32]:
    """The distance of each colour to the nearest that is avoided, (K,)."""
    return np.asarray(np.linalg.norm(colours[:, None] - avoided[None], axis=2).min(axis=1))


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
