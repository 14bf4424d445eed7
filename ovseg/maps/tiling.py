"""Where the windows of a large image lie."""

from __future__ import annotations

from ovseg.errors import UsageError

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels, bottom and right exclusive."""


def windows(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> list[Box]:
    """Windows over an image, row by row.

    The last window of a row or column is moved back so that it ends at the image's edge. Where the image is
    smaller than the window there is one window as long as the image.

    Args:
        size: (height, width) of the image in pixels.
        window: (height, width) of a window.
        stride: distance between two windows, (vertical, horizontal), at most the window.

    Raises:
        UsageError: a stride is below 1 or beyond the window.

    >>> windows((4, 10), (4, 4), (4, 4))
    [(0, 0, 4, 4), (0, 4, 4, 8), (0, 6, 4, 10)]
    """
    rows, columns = (_spans(s, w, d) for s, w, d in zip(size, window, stride, strict=True))
    return [(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    if window < 1 or not 1 <= stride <= window:
        raise UsageError(f"expected 1 <= stride <= window, got stride {stride} and window {window}")
    count = max(0, -(-(length - window) // stride)) + 1
    starts = [max(0, min(i * stride, length - window)) for i in range(count)]
    return [(start, min(start + window, length)) for start in starts]
