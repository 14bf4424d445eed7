"""EXIF orientation: how a stored picture is turned to be upright."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TAG = 0x0112
Pixel = TypeVar("Pixel", bound=np.generic)


def orientation_of(image: Image.Image) -> int:
    """The orientation 1..8 of an image that is loaded; 1 where EXIF is missing, damaged or out of range."""
    try:
        value = image.getexif().get(TAG, 1)
    except Exception:  # damaged EXIF: every viewer shows such a picture as it is stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn_upright(pixels: NDArray[Pixel], orientation: int) -> NDArray[Pixel]:
    """Turn stored pixels (H, W, …) upright, by the meaning of EXIF's orientation 1..8.

    >>> turn_upright(np.array([[1, 2, 3]]), 8).tolist()
    [[3], [2], [1]]
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
