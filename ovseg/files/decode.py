"""Encoded pictures to RGB: which library reads which file."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from ovseg.files.pillow import open_picture, picture_to_rgb, reading
from ovseg.files.tiff import is_tiff, samples_to_rgb, tiff_facts


def decode(stream: BinaryIO, name: str, limit: int) -> NDArray[np.uint8]:
    """The first picture of a stream as (H, W, 3) uint8 RGB, upright.

    TIFFs of more than 8 bits or signed ones go through tifffile, since Pillow misreads planes of 16 bits and
    has no pictures of several floats; everything else goes through Pillow, and tifffile reads the TIFFs that
    Pillow does not know.

    Raises:
        ImageError: the stream is no image, is damaged, has more than ``limit`` pixels, or values whose range
            cannot be told.
    """
    with reading(name):
        facts = tiff_facts(stream) if is_tiff(stream) else None
        if facts is not None and not facts.is_for_pillow:
            picture = samples_to_rgb(stream, name, limit, facts)
            if picture is not None:
                return picture
        nodata, bits = (facts.nodata, facts.bits) if facts is not None else (None, 16)
        try:
            image = open_picture(stream, name)
        except UnidentifiedImageError:
            picture = samples_to_rgb(stream, name, limit, facts) if facts is not None else None
            if picture is None:
                raise
            return picture
        return picture_to_rgb(image, name, limit, nodata, bits if 8 < bits < 16 else 16)
