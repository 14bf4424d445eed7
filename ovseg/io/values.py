"""Pixel values of any type to 8-bit RGB: one rule for files, arrays and tensors."""

from __future__ import annotations

from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import ImageError

Values: TypeAlias = NDArray[np.generic]
GROUND = (255, 255, 255)
"""RGB of every pixel that has no value of its own: transparent, NaN, infinite, or nodata. White."""
FILL = 1e30
"""Floats of this magnitude and above are fill values, such as 3.4e38, the largest float32."""
SLACK = 1e-3
"""Floats may lie outside 0..1 or -1..1 by this much: the rounding noise of a resampled picture."""
RULE = "0..1, -1..1, 0..255 or 0..65535"


def to_rgb(
    values: Values,
    alpha: Values | None = None,
    nodata: float | None = None,
    bits: int = 16,
) -> NDArray[np.uint8]:
    """Convert colour or grey values of any numeric type to an RGB picture.

    The range is decided by the values that are present (finite, below ``FILL`` and not ``nodata``):

    ================================  ===================================================
    8-bit integers                    as they are
    wider integers up to 255          as they are: 8-bit values in a wider type
    unsigned integers above 255       the upper 8 of ``bits`` bits (value >> 8 for 16)
    signed or 32-bit, 32768..65535    as 16 bits
    floats in 0..1                    times 255, rounded
    floats in -1..1, some negative    (value + 1) * 127.5, rounded
    floats up to 16..255              rounded
    floats up to 32768..65535         divided by 256, rounded down (the upper byte)
    everything else                   ImageError: the range cannot be told
    ================================  ===================================================

    A pixel becomes ``GROUND`` where a colour is NaN, infinite or a fill value, or where all of its colours
    are ``nodata``.

    Args:
        values: (H, W, 1) grey or (H, W, 3) RGB of any integer, float or bool type.
        alpha: (H, W) opacity of the same type, laid on ``GROUND``; None for opaque pictures.
        nodata: the value that marks missing pixels, as a file's tag says, or None.
        bits: the bits of an unsigned 16-bit type that are used, 9..16.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the values' range is none of the above.

    >>> to_rgb(np.array([[[0.0], [0.5], [np.nan]]]))[0, :, 0].tolist()
    [0, 128, 255]
    """
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    missing = missing_pixels(values, nodata)
    shown = values[~missing] if missing.any() else values
    top = _highest(shown, alpha) if values.dtype.kind in "iu" else None
    picture = _to_uint8(values, shown, bits, top)
    if alpha is not None:
        shares = _to_uint8(alpha, alpha, bits, top)[..., None].astype(np.float32) / 255
        picture = np.rint(picture * shares + np.array(GROUND, np.float32) * (1 - shares)).astype(np.uint8)
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    if missing.any():
        picture = picture.copy() if picture is values else picture
        picture[missing] = GROUND
    return np.ascontiguousarray(picture)


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


def _fits(value: float, dtype: np.dtype[np.generic]) -> bool:
    """Whether an integer type holds this value: no uint8 pixel is -9999."""
    if dtype.kind not in "iu" or not float(value).is_integer():
        return False
    bounds = np.iinfo(dtype.str)
    return bounds.min <= value <= bounds.max


def _highest(shown: Values, alpha: Values | None) -> int:
    """Colours and opacity of integers share one range: an opaque picture with dark colours stays dark."""
    return max(int(np.max(part, initial=0)) for part in (shown, alpha) if part is not None)


def _to_uint8(values: Values, shown: Values, bits: int, top: int | None) -> NDArray[np.uint8]:
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return cast("NDArray[np.uint8]", values)
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind not in "iuf":
        raise ImageError(f"wanted numbers as pixel values, got {values.dtype}")
    low, high = (float(np.min(shown)), float(np.max(shown))) if shown.size else (0.0, 0.0)
    if kind == "f":
        return _floats(cast("NDArray[np.floating]", values), low, high)
    return _integers(cast("NDArray[np.integer]", values), low, high if top is None else top, bits)


def _integers(values: NDArray[np.integer], low: float, high: float, bits: int) -> NDArray[np.uint8]:
    if low >= 0 and high <= 255:
        return np.clip(values, 0, 255).astype(np.uint8)
    if values.dtype == np.uint16:
        return np.clip(values >> (bits - 8), 0, 255).astype(np.uint8)
    if low >= 0 and 32768 <= high <= 65535:
        return np.clip(values >> 8, 0, 255).astype(np.uint8)
    raise _unknown(low, high)


def _floats(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    wide = values if values.dtype.itemsize > 2 else values.astype(np.float32)
    if low >= -SLACK and high <= 1 + SLACK:
        factor, shift = 255.0, 0.0
    elif low >= -1 - SLACK and high <= 1 + SLACK:
        factor, shift = 127.5, 127.5
    elif low >= 0 and 16 <= high <= 255:
        factor, shift = 1.0, 0.0
    elif low >= 0 and 32768 <= high <= 65535:
        wide, factor, shift = np.floor(wide / 256), 1.0, 0.0
    else:
        raise _unknown(low, high)
    with np.errstate(over="ignore", invalid="ignore"):  # missing values, painted over by the caller
        scaled = np.rint(wide * factor + shift)
    return np.nan_to_num(np.clip(scaled, 0, 255), nan=0.0).astype(np.uint8)


def _unknown(low: float, high: float) -> ImageError:
    return ImageError(
        f"wanted pixel values in {RULE}, got {low:.6g}..{high:.6g}: "
        "scale them to 0..1 and pass the array, since their range cannot be told"
    )
