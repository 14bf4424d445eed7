"""Encoded pictures to RGB: Pillow without its process-wide limit, tifffile where it knows more, errors in one line."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from ovseg.errors import ImageError, OvsegError, one_line
from ovseg.files.paths import open_file, shown
from ovseg.files.tiff import is_tiff, samples_to_rgb, tiff_facts
from ovseg.files.values import (
    GROUND,
    ORIENTATION,
    check_pixels,
    missing_pixels,
    row_bands,
    to_rgb,
    turn_upright,
)

logging.getLogger("PIL").addHandler(logging.NullHandler())  # a damaged file is one line: the error's
PROGRAMS = frozenset(["EPS", "WMF", "PDF", "PCD"])
"""Formats that are not opened: they need another program or hold no pixels."""
SCALED = {"PNG", "PPM"}
"""Formats whose greys Pillow gives as 32-bit integers although they are 16-bit values."""
HEIF_HINT = "HEIC needs pillow-heif (pip install pillow-heif)"
AVIF_HINT = "AVIF needs a newer Pillow (pip install -U pillow)"


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError of one line; ovseg's own errors pass."""
    try:
        yield
    except OvsegError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"expected an image file, {name} is not one") from None
    except MemoryError:
        raise ImageError(f"expected an image that fits into memory, {name} does not") from None
    except Exception as error:  # decoders raise anything, RuntimeError and struct.error among them
        reason = one_line(error)[:200]
        raise ImageError(f"expected a whole image, {name} cannot be decoded: {reason}") from None


def open_picture(stream: BinaryIO, name: str) -> Image.Image:
    """Open a stream as ``PIL.Image.open`` does, without its limit on pixels, which the whole process shares.

    Raises:
        UnidentifiedImageError: the content is no image that Pillow knows.
        ImageError: the content is HEIC or AVIF and what reads it is not installed.
    """
    stream.seek(0)
    prefix = stream.read(16)
    if heif := prefix[4:8] == b"ftyp":
        register_heif()
    for load in (Image.preinit, Image.init):  # the common formats first, as Pillow does
        load()
        for form in [form for form in Image.ID if form not in PROGRAMS]:
            factory, accept = Image.OPEN[form]
            try:
                accepted = accept is None or accept(prefix)
                if isinstance(accepted, str) or not accepted:  # a text says that support is missing
                    continue
                stream.seek(0)
                return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # another format's file, by Pillow's own convention
    if heif:
        hint = AVIF_HINT if prefix[8:12] in (b"avif", b"avis") else HEIF_HINT
        raise ImageError(f"expected an image file, {name} cannot be read: {hint}")
    raise UnidentifiedImageError


def register_heif() -> bool:
    """Register pillow-heif with Pillow. Returns whether it is installed."""
    try:
        import_module("pillow_heif").register_heif_opener()
    except (ImportError, OSError):  # OSError: a library that it needs is missing
        return False
    return True


def picture_to_rgb(
    image: Image.Image, name: str, limit: int, nodata: float | None = None, bits: int = 16
) -> NDArray[np.uint8]:
    """An opened picture as (H, W, 3) uint8 RGB, upright, transparency laid on ``GROUND``.

    Raises:
        ImageError: the picture has no pixels, more than ``limit``, or values whose range cannot be told.
    """
    check_pixels(image.height, image.width, limit, name)
    if (wide := _wide_ppm(image)) is not None:
        return to_rgb(wide)
    load_pixels(image)
    pixels = _deep(image, nodata, bits) if image.mode[0] in "IF" else _eight_bits(image, nodata)
    return turn_upright(pixels, orientation_of(image))


def _wide_ppm(image: Image.Image) -> NDArray[np.uint16] | None:
    """The 16-bit RGB of a binary PPM, which Pillow would round; None for any other picture."""
    tiles = getattr(image, "tile", None)
    if image.format != "PPM" or not tiles or (tiles[0][0], tiles[0][3]) != ("ppm", ("RGB", 65535)):
        return None
    stream: BinaryIO = image.fp  # type: ignore[attr-defined]  # of a file that is opened and not yet decoded
    stream.seek(tiles[0][2])
    content = stream.read(image.width * image.height * 6)
    return np.frombuffer(content, ">u2").reshape(image.height, image.width, 3).astype(np.uint16)


def load_pixels(image: Image.Image) -> None:
    """Decode an opened picture. A TIFF gets its memory here, since Pillow would apply its own limit there."""
    if hasattr(image, "_tile_size") and image._im is None:
        image.im = Image.core.new(image.mode, image._tile_size)  # type: ignore[attr-defined]  # Pillow's C part
    image.load()


def _deep(image: Image.Image, nodata: float | None, bits: int) -> NDArray[np.uint8]:
    values = np.asarray(image)[..., None]
    if image.mode == "I" and image.format in SCALED:
        values = values.astype(np.uint16)
    transparent = image.info.get("transparency")
    return to_rgb(values, nodata=transparent if isinstance(transparent, int) else nodata, bits=bits)


def _eight_bits(image: Image.Image, nodata: float | None) -> NDArray[np.uint8]:
    """In bands of rows: Pillow's conversions of the whole would take three times the result's memory."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows in row_bands(image.height, image.width):
        # Before 13, Pillow holds a crop of everything, too, to the limit on pixels that the process shares.
        whole = (rows.start, rows.stop) == (0, image.height)
        band = image if whole else image.crop((0, rows.start, image.width, rows.stop))
        pixels[rows] = _to_rgb(band, nodata)
    return pixels


def _to_rgb(image: Image.Image, nodata: float | None) -> NDArray[np.uint8]:
    missing = None
    if nodata is not None and image.mode in ("L", "P", "RGB", "RGBA"):
        values = np.asarray(image)
        missing = missing_pixels(values[..., :3] if values.ndim == 3 else values[..., None], nodata)
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert converted is not None  # only in place gives None
        image = converted
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, GROUND), image)
    pixels = np.array(image.convert("RGB"))  # a copy that may be written to
    if missing is not None:
        pixels[missing] = GROUND
    return pixels


def orientation_of(image: Image.Image) -> int:
    """The orientation 1..8 of an image that is loaded; 1 where EXIF is missing, damaged or out of range."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF: every viewer shows such a picture as it is stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


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


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of a picture or a label file, as EXIF turns it upright.

    Raises:
        ImageError: the file is no picture, or its beginning is damaged.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> Image.new("L", (4, 3)).save(path)
    >>> upright_size(path)
    (3, 4)
    """
    with open_file(path) as stream:
        return picture_size(stream, shown(path))


def picture_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """As ``upright_size``, of an open file that messages call ``name``."""
    with reading(name):
        image = open_picture(stream, name)
        size = (image.height, image.width)
        return size[::-1] if orientation_of(image) >= 5 else size
