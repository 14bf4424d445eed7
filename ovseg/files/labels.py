"""Label files: (H, W) class indices of 8 or 16 bits, upright, checked against their image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovseg.errors import DataError, ImageError
from ovseg.files.formats import load_pixels, open_picture, orientation_of, reading
from ovseg.files.paths import check_file, open_file, shown
from ovseg.files.tiff import is_tiff, orientation_tag, read_samples
from ovseg.files.values import check_pixels, pixel_limit, turn_upright

INDEXED = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N")
LOSSY = frozenset(["JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF"])
STRETCHED = {"L;2": 85, "L;4": 17}
"""Greys of 2 and 4 bits, which Pillow multiplies to fill 0..255."""


def load_labels(
    path: str | os.PathLike[str], image_shape: Sequence[int] | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a label file: one class index for each pixel of the upright image.

    The rule for images and labels of a data set: ``load_image`` turns an image upright by its EXIF
    orientation, and a label belongs to the upright image. A label that has an EXIF orientation of its own is
    turned by it too; a label without one is taken as upright already. So an upright label of a turned
    photograph fits, and so does the label map that ovseg writes of it. A label stored as the sensor saw it,
    without EXIF, is refused where its sides are exchanged; where they are not (orientation 2 to 4) nothing in
    the file tells, and it has to be turned when the data set is made.

    Indices are kept as stored: of a palette the indices and not the colours, greys of 1, 2 and 4 bits
    unstretched, 16 bits in full.

    Args:
        path: a PNG, TIFF, BMP or GIF of one channel.
        image_shape: the shape of its image as ``load_image`` gives it, (H, W, …); None for no check.

    Returns:
        (H, W) uint8 or uint16, by the file.

    Raises:
        UsageError: the path is no path, or an address on a network.
        DataError: the file is missing, damaged, holds colours or values outside 0..65535, is compressed with
            loss, or has another size than its image.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels.png"
    >>> Image.fromarray(np.array([[0, 1027]], np.uint16)).save(path)
    >>> load_labels(path).tolist()
    [[0, 1027]]
    >>> load_labels(path, (2, 1, 3))
    Traceback (most recent call last):
    ...
    ovseg.errors.DataError: expected labels of (2, 1) pixels (height, width), as the upright image has, ...
    """
    try:
        file = check_file(path, "a label file")
        name = shown(file)
        with open_file(file) as stream, reading(name):
            labels = _decode(stream, name, pixel_limit())
    except ImageError as error:
        raise DataError(str(error)) from None
    if image_shape is not None:
        check_labels_fit(labels, image_shape, name)
    return labels


def check_labels_fit(labels: NDArray[np.integer], image_shape: Sequence[int], name: str) -> None:
    """Raise DataError where labels (H, W) have another size than their upright image (H, W, …)."""
    wanted = (int(image_shape[0]), int(image_shape[1]))
    if labels.shape == wanted:
        return
    hint = ""
    if labels.shape == wanted[::-1]:
        hint = "; its sides are exchanged: labels belong to the image as EXIF turns it upright"
    raise DataError(
        f"expected labels of {wanted} pixels (height, width), as the upright image has, "
        f"{name} has {labels.shape}{hint}"
    )


def _decode(stream: BinaryIO, name: str, limit: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if is_tiff(stream):
        found = read_samples(stream, name, limit)
        if found is not None:
            values, page = found
            if values.shape[2] != 1:
                raise DataError(f"expected labels of one channel, {name} has {values.shape[2]}")
            return _indices(turn_upright(values[..., 0], orientation_tag(page)), name)
    image = open_picture(stream, name)
    if image.format in LOSSY:
        raise DataError(f"expected labels as PNG or TIFF, {name} is {image.format}, which changes indices")
    if image.mode not in INDEXED:
        raise DataError(f"expected labels of one channel, {name} has mode {image.mode}: it holds colours")
    check_pixels(image.height, image.width, limit, name)
    factor = STRETCHED.get(_raw_mode(image), 1)
    load_pixels(image)
    return _indices(turn_upright(np.asarray(image), orientation_of(image)) // factor, name)


def _raw_mode(image: Image.Image) -> str:
    """Pillow's raw mode of the file, available until the image is loaded."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    return arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""


def _indices(values: NDArray[np.generic], name: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if values.dtype.kind not in "biu":
        raise DataError(f"expected labels as integers, {name} has {values.dtype}")
    if values.dtype.itemsize == 1 and values.dtype.kind != "i":
        return values.astype(np.uint8)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise DataError(f"expected labels in 0..65535, {name} has {low}..{high}")
    return values.astype(np.uint16)
