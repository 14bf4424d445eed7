"""Resize pictures, masks and labels, for a model or for viewing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ovseg.errors import OvsegError, UsageError, described

if TYPE_CHECKING:  # commands import this module before they check their arguments: it loads nothing large
    import numpy as np
    from numpy.typing import NDArray


def resize_image(image: NDArray[np.uint8], size: tuple[int, int], how: str = "opencv") -> NDArray[np.uint8]:
    """Resize a picture; one that already has the size is returned unchanged.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: (height, width) in pixels, each at least 1.
        how: "opencv": along a side that shrinks, averages over areas; along a side that grows, bicubic.
            "pillow": Pillow's antialiased bicubic. "bilinear": OpenCV's bilinear, without antialiasing.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        UsageError: another type of picture, an unknown ``how``, or a size that is not two positive integers.
        OvsegError: the result does not fit into memory.

    >>> import numpy as np
    >>> resize_image(np.zeros((4, 6, 3), np.uint8), (2, 9)).shape
    (2, 9, 3)
    """
    import cv2
    import numpy as np

    if not isinstance(how, str) or how not in HOWS:
        raise UsageError(f"unknown resize {described(how)}: expected one of {', '.join(HOWS)}")
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"expected a picture (H, W, 3) uint8, got {got}")
    is_pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not is_pair or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in size):
        raise UsageError(f"expected a size (height, width) of at least 1 pixel, got {described(size)}")
    height, width = int(size[0]), int(size[1])
    if image.shape[:2] == (height, width):
        return image
    try:
        return HOWS[how](image, height, width)
    except (cv2.error, MemoryError, ValueError, OverflowError):
        raise OvsegError(f"an image of {height} x {width} pixels does not fit into memory") from None


def _opencv(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """One step if both sides shrink or both grow; otherwise the shrinking side first."""
    down = min(height, image.shape[0]), min(width, image.shape[1])
    if down != image.shape[:2]:
        image = _cv2(image, *down, "INTER_AREA")
    return image if down == (height, width) else _cv2(image, height, width, "INTER_CUBIC")


def _bilinear(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return _cv2(image, height, width, "INTER_LINEAR")


def _pillow(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _cv2(image: NDArray[np.uint8], height: int, width: int, interpolation: str) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    return np.asarray(cv2.resize(image, (width, height), interpolation=getattr(cv2, interpolation)), np.uint8)


HOWS: dict[str, Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]] = {
    "opencv": _opencv,
    "pillow": _pillow,
    "bilinear": _bilinear,
}
"""The same names as ``ovseg.options.RESIZES``, which lies above this room; a test compares them."""


def viewing_size(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) with the long side at most ``longest`` and the aspect ratio kept.

    >>> viewing_size((3000, 4000, 3), 512), viewing_size((30, 40), 512), viewing_size((1, 9999), 512)
    ((384, 512), (30, 40), (1, 512))
    """
    scale = min(1.0, longest / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def shrunk(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Shrink an image (H, W, 3) by averaging over areas."""
    return image if image.shape[:2] == size else _cv2(image, *size, "INTER_AREA")


def shrunk_labels(labels: NDArray[np.unsignedinteger], size: tuple[int, int]) -> NDArray[np.unsignedinteger]:
    """Shrink labels or a mask (H, W), nearest neighbour."""
    import cv2
    import numpy as np

    if labels.shape == size:
        return labels
    return np.asarray(cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST))
