"""Convert pixel values of any type to 8-bit RGB, limit their number, and turn them upright."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import ImageError, UsageError, described

Values: TypeAlias = NDArray[np.generic]
Pixel = TypeVar("Pixel", bound=np.generic)
ORIENTATION = 0x0112
"""The orientation tag of EXIF and TIFF."""
GROUND = (255, 255, 255)
"""RGB, white, of pixels without a value: transparent, NaN, infinite or nodata."""
FILL = 1e30
"""Floats of this magnitude and above are fill values, such as 3.4e38, the largest float32."""
SLACK = 1e-3
"""Floats may lie outside 0..1 or -1..1 by this much: the rounding noise of a resampled picture."""
RULE = "0..1, -1..1, 0..255 or 0..65535"
MAX_PIXELS = 178_956_970
"""The default limit. Reading takes about 8 bytes a pixel, 11 where it is turned by EXIF, and samples beyond 8
bits their own size and 4: a picture at the limit needs 1.4 to 2 GB, and 2.9 GB in three 32-bit floats."""
BYTES = 24
"""Most bytes per pixel in a file; with more, the pixel limit would not bound the memory."""
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


def to_rgb(
    values: Values,
    alpha: Values | None = None,
    nodata: float | None = None,
    bits: int = 16,
    *,
    associated: bool = False,
    white_is_zero: bool = False,
) -> NDArray[np.uint8]:
    """Convert colour or grey values of any numeric type to an RGB picture.

    The type and the smallest and largest of the values that are present (finite, below ``FILL`` in magnitude
    and not ``nodata``) decide the range:

    ==============================================  ================================================
    integers, all in 0..255                         as they are, whatever the type's width
    unsigned 16 bits, the largest above 255         the upper 8 of ``bits`` bits (value >> 8 for 16)
    other integers >= 0, the largest 32768..65535   the upper 8 of 16 bits
    floats in 0..1                                  times 255, rounded
    floats in -1..1, some of them negative          (value + 1) * 127.5, rounded
    floats >= 0, the largest in 16..255             rounded
    floats >= 0, the largest in 32768..65535        the upper 8 of 16 bits: value / 256, rounded down
    everything else                                 ImageError: the range cannot be told
    ==============================================  ================================================

    A pixel becomes ``GROUND`` where a colour is NaN, infinite or a fill value, or where all of its colours
    are ``nodata``.

    Args:
        values: (H, W, 1) grey or (H, W, 3) RGB, with pixels, of any integer, float or bool type.
        alpha: (H, W) opacity of the same type, laid on ``GROUND``; None for opaque pictures.
        nodata: the value that marks missing pixels, as a file's tag says, or None.
        bits: the bits of an unsigned 16-bit type that are used, 9..16.
        associated: the colours are multiplied by the opacity already, so that only the ground is added.
        white_is_zero: the smallest value is white and the largest black, as in some TIFFs.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the values' range is none of the above.

    >>> to_rgb(np.array([[[0.0], [0.5], [np.nan]]]))[0, :, 0].tolist()
    [0, 128, 255]
    """
    plain = alpha is None and nodata is None and not white_is_zero
    if values.dtype == np.uint8 and values.shape[2] == 3 and plain:
        return np.ascontiguousarray(values, np.uint8)
    height, width = values.shape[:2]
    shown, gaps = _colours(values, nodata)
    opacity = _Range() if values.dtype.kind == "f" else shown  # floats of both kinds have their own ranges
    if alpha is not None and not all(opacity.add(alpha[rows]) for rows in row_bands(height, width)):
        raise ImageError("expected finite values of a picture's opacity, got NaN or infinity")
    convert, opaque = (_converter(values.dtype, one, bits) for one in (shown, opacity))
    picture = np.empty((height, width, 3), np.uint8)
    ground = tuple(255 - one for one in GROUND) if white_is_zero else GROUND  # it is inverted with the rest
    for rows in row_bands(height, width):
        picture[rows] = convert(_native(values[rows]))
        if alpha is not None:
            picture[rows] = _laid_on(ground, picture[rows], opaque(_native(alpha[rows])), associated)
        if white_is_zero:
            picture[rows] = 255 - picture[rows]
        if rows.start in gaps:
            picture[rows][gaps[rows.start]] = GROUND
    return picture


def row_bands(height: int, width: int) -> Iterator[slice]:
    """Slices of rows of about a million pixels each, so that intermediate arrays stay small."""
    step = max(1, (1 << 20) // max(1, width))
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def missing_pixels(values: Values, nodata: float | None) -> NDArray[np.bool_]:
    """(H, W) bool: where (H, W, C) values are missing, by the rule of ``to_rgb``."""
    missing = np.zeros(values.shape[:2], bool)
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):  # float16 cannot hold FILL: below infinity then
            missing |= ~(np.abs(values) < FILL).all(axis=2)  # NaN compares as False
    if nodata is not None and (values.dtype.kind == "f" or _fits(nodata, values.dtype)):
        with np.errstate(over="ignore"):  # a tag may hold more than float32 can
            missing |= (values == np.asarray(nodata, np.float64).astype(values.dtype)).all(axis=2)
    return missing


def _colours(values: Values, nodata: float | None) -> tuple[_Range, dict[int, NDArray[np.bool_]]]:
    """The range of the present values, and the missing pixels of each affected band, keyed by its first row."""
    shown, gaps = _Range(), {}
    for rows in row_bands(*values.shape[:2]):
        if nodata is not None or not shown.add(values[rows]):
            gaps[rows.start] = missing_pixels(values[rows], nodata)
            shown.add(values[rows][~gaps[rows.start]])
    return shown, gaps


def _laid_on(
    ground: tuple[int, ...], colours: NDArray[np.uint8], opacity: NDArray[np.uint8], associated: bool
) -> NDArray[np.uint8]:
    shares = opacity[..., None].astype(np.float32) / 255
    shown = colours if associated else colours * shares
    laid = np.rint(shown + np.array(ground, np.float32) * (1 - shares))
    # In damaged files, colours that are multiplied by their opacity exceed it.
    return np.minimum(laid, 255).astype(np.uint8)


def _fits(value: float, dtype: np.dtype[np.generic]) -> bool:
    """Whether an integer type can hold this value: no uint8 pixel is -9999."""
    if dtype.kind not in "iu" or not float(value).is_integer():
        return False
    bounds = np.iinfo(dtype.str)
    return bounds.min <= value <= bounds.max


def _native(values: Values) -> Values:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


class _Range:
    """Minimum and maximum of the added values; 0 and 0 without any."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf

    def add(self, values: Values) -> bool:
        """Add values unless one is NaN, infinite or a fill value. Returns whether they were added."""
        if values.size:
            with np.errstate(invalid="ignore"):
                low, high = float(np.min(values)), float(np.max(values))
            if not -FILL < low <= high < FILL:
                return False
            self.low, self.high = min(self.low, low), max(self.high, high)
        return True

    def ends(self) -> tuple[float, float]:
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)


def _converter(
    dtype: np.dtype[np.generic], shown: _Range, bits: int
) -> Callable[[Values], NDArray[np.uint8]]:
    """The function that turns values of this type and range to 8 bits: the table of ``to_rgb``."""
    low, high = shown.ends()
    floats, upper = dtype.kind == "f", low >= 0 and 32768 <= high <= 65535
    rows: list[tuple[bool, Callable[[Values], NDArray[np.uint8]]]] = [
        (dtype.kind == "b", partial(_scaled, factor=255.0)),
        (not floats and low >= 0 and high <= 255, partial(_shifted, by=0)),
        (dtype.kind == "u" and dtype.itemsize == 2, partial(_shifted, by=bits - 8)),
        (not floats and upper, partial(_shifted, by=8)),
        (floats and low >= -SLACK and high <= 1 + SLACK, partial(_scaled, factor=255.0)),
        (floats and low >= -1 - SLACK and high <= 1 + SLACK, partial(_scaled, factor=127.5, shift=127.5)),
        (floats and low >= 0 and 16 <= high <= 255, partial(_scaled, factor=1.0)),
        (floats and upper, partial(_scaled, factor=1 / 256, rounded=False)),
    ]
    for holds, convert in rows:
        if holds:
            return convert
    raise ImageError(
        f"expected pixel values in {RULE}, got {low:.6g}..{high:.6g}: "
        "scale them to 0..1 and pass the array, since their range cannot be told"
    )


def _scaled(values: Values, factor: float, shift: float = 0.0, rounded: bool = True) -> NDArray[np.uint8]:
    """Missing values may overflow: the caller paints over them."""
    wide: NDArray[np.floating] = values.astype(
        np.float64 if values.dtype.itemsize > 4 else np.float32, copy=False
    )
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = wide * factor + shift
        scaled = np.clip(np.rint(scaled) if rounded else np.floor(scaled), 0, 255)
    return np.nan_to_num(scaled, copy=False, nan=0.0).astype(np.uint8)


def _shifted(values: Values, by: int) -> NDArray[np.uint8]:
    return np.clip(cast("NDArray[np.integer]", values) >> by, 0, 255).astype(np.uint8)


def turn_upright(pixels: NDArray[Pixel], orientation: int) -> NDArray[Pixel]:
    """Turn stored pixels (H, W, …) upright, given EXIF's orientation 1..8.

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
