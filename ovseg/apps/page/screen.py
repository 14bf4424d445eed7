"""Photographs at the size of a screen, and places on them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 1280
"""The long side in pixels of what is shown. Smaller photographs are enlarged: where a browser enlarges a
picture, Gradio tells the places of clicks wrongly."""


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which a picture of ``size`` is shown.

    >>> shown_size((3000, 4000)), shown_size((400, 300))
    ((960, 1280), (1280, 960))
    """
    scale = SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def place_in_picture(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    """The x and y of a picture of ``size`` (height, width) under a pixel of what is shown of it.

    >>> place_in_picture(0, 959, (3000, 4000))
    (1.5625, 2998.4375)
    """
    height, width = shown_size(size)
    return (x + 0.5) * size[1] / width, (y + 0.5) * size[0] / height


def resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture or a mask of shades at another size (height, width)."""
    if picture.shape[:2] == size:
        return picture
    how = cv2.INTER_AREA if size[0] < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=how))
