"""Encoded pictures to RGB: which library reads which file."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ovseg.io.pillow import open_picture, picture_to_rgb, reading
from ovseg.io.tiff import deep_tiff_to_rgb, is_tiff, tiff_facts


def decode(stream: BinaryIO, name: str, limit: int) -> NDArray[np.uint8]:
    """The first picture of a stream as (H, W, 3) uint8 RGB, upright.

    TIFFs of more than 8 bits go through tifffile, since Pillow misreads planes of 16 bits and has no
    pictures of several floats; everything else goes through Pillow.

    Raises:
        ImageError: the stream is no image, is damaged, has more than ``limit`` pixels, or values whose range
            cannot be told.
    """
    with reading(name):
        facts = tiff_facts(stream) if is_tiff(stream) else None
        if facts is not None and facts.bits > 8:
            picture = deep_tiff_to_rgb(stream, name, limit, facts)
            if picture is not None:
                return picture
        nodata, bits = (facts.nodata, facts.bits) if facts is not None else (None, 16)
        image = open_picture(stream, name)
        return picture_to_rgb(image, name, limit, nodata, bits if 8 < bits < 16 else 16)
