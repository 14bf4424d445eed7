"""Photographs at the size of a screen."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 1280
"""The long side in pixels of what is shown. Smaller photographs are enlarged, so that outlines stay fine."""


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which a picture of ``size`` is shown.

    >>> shown_size((3000, 4000)), shown_size((400, 300))
    ((960, 1280), (1280, 960))
    """
    scale = SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture or a mask of shades at another size (height, width)."""
    if picture.shape[:2] == size:
        return picture
    how = cv2.INTER_AREA if size[0] < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=how))
