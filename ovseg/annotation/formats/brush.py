"""Label Studio's run lengths of brush masks, bit-compatible with its own tools.

A mask (H, W) becomes the values 0 and 255, four channels a pixel, row by row. The stream of bits begins with
the number of values (32 bits), the bits of a value less one (5) and four widths of run lengths less one (4
each). Then come blocks: one bit that says "a run", two bits for the width of its length, the length less one,
and the value. Zeros fill the last byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import DataError, described

CHANNELS = 4
WIDTHS = (3, 4, 8, 16)
"""Widths of a run's length in bits; the smallest that fits is used."""
LONGEST = 2 ** WIDTHS[-1]
HEAD = 32 + 5 + 4 * len(WIDTHS)


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """The run lengths of a mask as Label Studio's ``rle`` of a brush region.

    Args:
        mask: (H, W) bool, True on the object.

    Returns:
        Bytes as integers in 0..255. They equal those of Label Studio's own converter, but for a byte of
        zeros that it adds where the last byte is full already.

    >>> encode_brush(np.array([[False, True]]))
    [0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]
    >>> decode_brush(encode_brush(np.array([[False, True]])), (1, 2)).tolist()
    [[False, True]]
    """
    values = np.ascontiguousarray(mask).reshape(-1)
    head = f"{CHANNELS * values.size:032b}" + f"{7:05b}" + "".join(f"{width - 1:04b}" for width in WIDTHS)
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], edges]) if values.size else edges
    lengths = np.diff(np.concatenate([starts, [values.size]])) * CHANNELS
    blocks = (
        _blocks(length, on) for length, on in zip(lengths.tolist(), values[starts].tolist(), strict=True)
    )
    bits = head + "".join(blocks)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def decode_brush(rle: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of ``size`` (height, width) from Label Studio's run lengths: True where a pixel is not 0.

    Args:
        rle: bytes as integers, as Label Studio exports them, of any widths; the last of the four channels
            counts, which holds the opacity where a brush was used.
        size: (height, width) of the image in pixels.

    Raises:
        DataError: the bytes are no run lengths, or of an image with another number of pixels.

    >>> decode_brush([0, 1, 2], (1, 2))
    Traceback (most recent call last):
    ...
    ovseg.errors.DataError: expected run lengths of Label Studio, got 3 bytes that end too early
    """
    try:
        ones = np.unpackbits(np.frombuffer(bytes(rle), np.uint8))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"expected run lengths of Label Studio as bytes, got {described(rle)}") from None
    bits = (ones + ord("0")).tobytes().decode()
    if len(bits) < HEAD:
        raise DataError(f"expected run lengths of Label Studio, got {len(rle)} bytes that end too early")
    count = int(bits[:32], 2)
    if count != CHANNELS * size[0] * size[1]:
        raise DataError(f"expected run lengths of {size[0]} x {size[1]} pixels, got {count} values")
    values = np.zeros(count, bool)
    for start, stop in _on(bits, count):
        values[start:stop] = True
    return values.reshape(*size, CHANNELS)[..., -1].copy()


def _blocks(length: int, on: bool) -> str:
    """A run of ``length`` equal values, as several blocks if one is too short."""
    value = "11111111" if on else "00000000"
    out = ""
    while length > LONGEST:
        out += f"111{LONGEST - 1:016b}{value}"
        length -= LONGEST
    index = next(k for k, width in enumerate(WIDTHS) if length <= 2**width)
    return out + f"1{index:02b}{length - 1:0{WIDTHS[index]}b}{value}"


def _on(bits: str, count: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the values that are not 0."""
    word = int(bits[32:37], 2) + 1
    widths = [int(bits[place : place + 4], 2) + 1 for place in range(37, HEAD, 4)]
    place, start = HEAD, 0
    while start < count:
        single = bits[place : place + 1] == "0"
        width = widths[int(bits[place + 1 : place + 3] or "0", 2)]
        length = int(bits[place + 3 : place + 3 + width] or "0", 2) + 1
        place += 3 + width
        end = place + word * (length if single else 1)
        if start + length > count or end > len(bits):
            raise DataError(
                f"expected run lengths of {count} values of Label Studio, got {len(bits) // 8} bytes that do not fit"
            )
        if single:  # a value each
            for k in range(length):
                if "1" in bits[place + word * k : place + word * (k + 1)]:
                    yield start + k, start + k + 1
        elif "1" in bits[place:end]:
            yield start, start + length
        place, start = end, start + length
