"""TIFF through tifffile where Pillow is not enough: more than 8 bits, several planes, nodata."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ovseg.errors import ImageError
from ovseg.files.values import BYTES, ORIENTATION, check_pixels, to_rgb, turn_upright

if TYPE_CHECKING:
    from tifffile import TiffPage

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # a damaged file is one line: the error's
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GDAL_NODATA = 42113
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # PhotometricInterpretation
SIGNED = 2  # SampleFormat
ASSOCIATED, UNASSOCIATED = 1, 2  # ExtraSamples: opacity, with colours multiplied by it or not


@dataclass(frozen=True)
class TiffFacts:
    """Sample layout of a TIFF, which decides whether Pillow or tifffile reads it."""

    bits: int
    nodata: float | None
    samples: int
    planar: bool
    signed: bool = False

    @property
    def is_for_pillow(self) -> bool:
        """Whether Pillow reads such samples correctly; it mistakes signed bytes for unsigned ones."""
        separate = self.planar and self.samples not in (1, 3)
        return self.bits <= 8 and not self.signed and not separate


def is_tiff(stream: BinaryIO) -> bool:
    """Whether a stream starts like a TIFF or BigTIFF; leaves it at its start."""
    stream.seek(0)
    start = stream.read(4)
    stream.seek(0)
    return start in MAGIC


def tiff_facts(stream: BinaryIO) -> TiffFacts | None:
    """The facts of the first page; None if tifffile cannot parse the file."""
    from tifffile import TiffFile

    try:
        stream.seek(0)
        with TiffFile(stream) as file:
            page = _first(file.pages[0])
            bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
            planar, signed = page.planarconfig == 2, page.sampleformat == SIGNED
            return TiffFacts(bits, _nodata(page), page.samplesperpixel, planar, signed)
    except Exception:  # Pillow's turn, and its error if it cannot read the file either
        return None


def read_samples(stream: BinaryIO, name: str, limit: int) -> tuple[NDArray[np.generic], TiffPage] | None:
    """The first page's samples (H, W, C) as stored, and the page; None if a codec is missing.

    Raises:
        ImageError: the page has too many pixels, or is not a flat picture.
    """
    from tifffile import TiffFile

    stream.seek(0)
    with TiffFile(stream) as file:
        page = _first(file.pages[0])
        check_pixels(page.imagelength, page.imagewidth, limit, name)
        if page.imagedepth != 1:
            raise ImageError(f"expected a flat picture, {name} has shape {page.shape}")
        if page.nbytes > limit * BYTES:
            raise ImageError(
                f"expected at most {BYTES} bytes a pixel, {name} has {page.samplesperpixel} bands"
            )
        try:
            values = page.asarray(squeeze=False)  # (planes, depth, H, W, samples)
        except Exception as error:
            if "imagecodecs" in str(error):
                return None
            raise
        values = values[:, 0]
        return (np.moveaxis(values[..., 0], 0, -1) if len(values) > 1 else values[0]), page


def samples_to_rgb(stream: BinaryIO, name: str, limit: int, facts: TiffFacts) -> NDArray[np.uint8] | None:
    """A TIFF's samples as tifffile reads them, as (H, W, 3) uint8 RGB, upright.

    Returns None if a codec is missing and Pillow reads such a file correctly.

    Raises:
        ImageError: the bands are neither grey nor RGB, the samples are complex, or a codec is missing.
    """
    found = read_samples(stream, name, limit)
    simple = facts.samples == 1 or not facts.planar
    if found is None:
        if simple:
            return None
        raise ImageError(
            f"expected a codec for {name}: pip install imagecodecs, or save it without compression"
        )
    values, page = found
    if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) and simple:
        return None  # CMYK, for one
    if values.dtype.kind not in "biuf":
        raise ImageError(f"expected samples as integers or floats, {name} has {values.dtype}")
    colours, alpha = _bands(turn_upright(values, orientation_tag(page)), page, name)
    return to_rgb(
        colours,
        alpha,
        facts.nodata,
        facts.bits if 8 < facts.bits < 16 else 16,
        associated=_opacity(page) == ASSOCIATED,
        white_is_zero=page.photometric == WHITE_IS_ZERO,
    )


def _bands(
    values: NDArray[np.generic], page: TiffPage, name: str
) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
    """Colours (H, W, 1 or 3) and opacity of a page's samples."""
    photometric = page.photometric
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise ImageError(f"expected grey or RGB, {name} is {getattr(photometric, 'name', photometric)}")
    alpha = values[..., -1] if _opacity(page) else None
    bands = values.shape[2] - (alpha is not None)
    if bands == 1 or bands == 3:
        return values[..., :bands], alpha
    if photometric == RGB and bands > 3:  # by the standard, its first three are red, green and blue
        return values[..., :3], alpha
    raise ImageError(
        f"expected 1 or 3 bands, {name} has {bands}: pass an array (H, W, 3) of the three to show"
    )


def _opacity(page: TiffPage) -> int:
    """The last sample's kind of opacity, ``ASSOCIATED`` or ``UNASSOCIATED``; 0 if it is a colour."""
    extra = tuple(page.extrasamples or ())
    return int(extra[-1]) if extra and extra[-1] in (ASSOCIATED, UNASSOCIATED) else 0


def orientation_tag(page: TiffPage) -> int:
    """The orientation 1..8 of a page; 1 where it has none."""
    tag = page.tags.get(ORIENTATION)
    return tag.value if tag is not None and tag.value in range(1, 9) else 1


def _first(page: object) -> TiffPage:
    from tifffile import TiffPage

    if not isinstance(page, TiffPage):
        raise ImageError("expected a TIFF page")
    return page


def _nodata(page: TiffPage) -> float | None:
    tag = page.tags.get(GDAL_NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip().strip("\0"))
    except ValueError:
        return None
