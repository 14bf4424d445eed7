"""Pictures from files, bytes, arrays, tensors and PIL to (H, W, 3) uint8 RGB, or one clear line why not.

``load_image`` keeps no state and changes none of the process (Pillow's limits, warning filters), so threads
may share it. The other names of this room that callers need are importable from here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.errors import UsageError, one_line
from ovseg.files.arrays import LAYOUTS, SupportsArray, array_to_rgb
from ovseg.files.decode import decode
from ovseg.files.find import SUFFIXES as SUFFIXES
from ovseg.files.find import find_images as find_images
from ovseg.files.find import output_stems as output_stems
from ovseg.files.labels import check_labels_fit as check_labels_fit
from ovseg.files.labels import load_labels as load_labels
from ovseg.files.limits import MAX_PIXELS as MAX_PIXELS
from ovseg.files.limits import pixel_limit
from ovseg.files.pillow import picture_to_rgb, reading
from ovseg.files.resize import resize_image as resize_image
from ovseg.files.sources import check_file, open_file, shown
from ovseg.files.values import GROUND as GROUND

ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.generic] | SupportsArray
)
"""What ``load_image`` takes: a path, a file's content or an open file, a PIL image, an array or tensor."""


def load_image(source: ImageLike, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Load one picture as RGB.

    EXIF orientation is honoured: the result is upright. Transparent pixels and pixels without a value (NaN,
    infinite, nodata) are white, ``GROUND``. Palettes, CMYK and LAB are converted; of animations and of TIFFs
    with several pages the first is taken. Values beyond 8 bits follow the rule of ``ovseg.files.values.to_rgb``:
    16 bits keep their upper byte, floats may be in 0..1, -1..1, 0..255 or 0..65535.

    Args:
        source: a path; the bytes of an image file, or a file opened in binary mode; a PIL image of any mode;
            an array or tensor on any device, (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or (3, H, W). A
            contiguous (H, W, 3) uint8 array is returned as it is, not copied.
        max_pixels: the largest number of pixels; None for the environment variable OVSEG_MAX_PIXELS, or
            178,956,970. Reading takes about 8 to 11 bytes a pixel, of 32-bit floats 16.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: a file is missing, no image, damaged, or too large, or its values' range cannot be told.
        UsageError: another type, an array of another layout or range, or an address on a network.

    >>> load_image(np.full((2, 4), 0.5)).shape
    (2, 4, 3)
    """
    limit = pixel_limit(max_pixels)
    if isinstance(source, np.ndarray):
        return array_to_rgb(source, limit)
    if isinstance(source, Image.Image):
        with reading("the PIL image"):
            return picture_to_rgb(source, "the PIL image", limit)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(BytesIO(bytes(source)), "the data", limit)
    if isinstance(source, (str, os.PathLike)):
        path = check_file(source)
        with open_file(path) as stream:
            return decode(stream, shown(path), limit)
    if isinstance(source, SupportsArray):
        return array_to_rgb(source, limit)
    if hasattr(source, "read"):
        return decode(BytesIO(_content(source)), "the open file", limit)
    raise UsageError(
        f"expected a picture as a path, bytes, an open file, a PIL image or an array {LAYOUTS}, "
        f"got {type(source).__name__}"
    )


def _content(file: BinaryIO) -> bytes:
    with suppress(OSError, ValueError, AttributeError):  # a pipe is read from where it is
        file.seek(0)
    try:
        content = file.read()
    except Exception as error:
        raise UsageError(
            f"expected an open file to read a picture from, got an error: {one_line(error)}"
        ) from None
    if not isinstance(content, bytes):
        raise UsageError(f"expected a file opened in binary mode, got {type(content).__name__} from it")
    return content
