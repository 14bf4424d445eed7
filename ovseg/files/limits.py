"""How many pixels a picture may have: a statement about memory, which can be raised."""

from __future__ import annotations

import os

from ovseg.errors import ImageError, UsageError, described

MAX_PIXELS = 178_956_970
"""The default limit. Reading takes about 8 bytes a pixel, 11 where it is turned by EXIF, and samples beyond 8
bits their own size and 4: a picture at the limit needs 1.4 to 2 GB, and 2.9 GB in three 32-bit floats."""
BYTES = 24
"""The most bytes that the samples of a pixel may take in a file; more would break the limit's promise."""
VARIABLE = "OVSEG_MAX_PIXELS"


def pixel_limit(chosen: int | None = None) -> int:
    """The largest number of pixels a picture may have.

    Args:
        chosen: the caller's limit; None for the environment variable OVSEG_MAX_PIXELS, or ``MAX_PIXELS``.

    Raises:
        UsageError: the limit is no positive integer.
    """
    value: object = chosen if chosen is not None else os.environ.get(VARIABLE) or MAX_PIXELS
    name = "max_pixels" if chosen is not None else VARIABLE
    if isinstance(value, str) and value.isascii() and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"expected {name} as a positive number of pixels, got {described(value)}")
    return value


def check_pixels(height: int, width: int, limit: int, name: str) -> None:
    """Raise ImageError for a picture without pixels or with more than ``limit``."""
    if height < 1 or width < 1:
        raise ImageError(f"expected an image with pixels, {name} has {width} x {height}")
    if height * width > limit:
        raise ImageError(
            f"expected at most {limit:,} pixels, {name} has {width} x {height} (about "
            f"{height * width * 8 / 1e9:.1f} GB to read): raise max_pixels or {VARIABLE} if memory allows"
        )
