"""Images at a size for viewing: what is drawn does not grow with the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def viewing_size(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) of an image whose long side is at most ``longest``, its aspect ratio kept.

    >>> viewing_size((3000, 4000, 3), 512), viewing_size((30, 40), 512), viewing_size((1, 9999), 512)
    ((384, 512), (30, 40), (1, 512))
    """
    scale = min(1.0, longest / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def shrunk(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image (H, W, 3) at a smaller (height, width), averaged over areas."""
    import cv2
    import numpy as np

    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)


def shrunk_labels(labels: NDArray[np.unsignedinteger], size: tuple[int, int]) -> NDArray[np.unsignedinteger]:
    """Labels or a mask (H, W) at a smaller (height, width), each pixel one of the old ones."""
    import cv2
    import numpy as np

    if labels.shape == size:
        return labels
    return np.asarray(cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST))
