"""Damaged files of every format: a valid picture or an ImageError of one line, nothing else."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ovseg.errors import DataError, ImageError
from ovseg.files import formats as pillow
from ovseg.files.labels import load_labels
from ovseg.files.pictures import load_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (13, 17, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (13, 17, 3), np.uint16)
FLOATS = RNG.random((13, 17), np.float32)


def pillows(form, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def tiffs(values, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def exif():
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


FILES = {
    "png": pillows("PNG"),
    "png palette": pillows("PNG", "P", exif=exif()),
    "jpeg": pillows("JPEG", exif=exif()),
    "jpeg progressive": pillows("JPEG", progressive=True),
    "jpeg cmyk": pillows("JPEG", "CMYK"),
    "gif": pillows("GIF"),
    "bmp": pillows("BMP"),
    "ppm": pillows("PPM"),
    "webp": pillows("WEBP", exif=exif()),
    "webp lossless": pillows("WEBP", "RGBA", lossless=True),
    "avif": pillows("AVIF", exif=exif()),
    "jpeg 2000": pillows("JPEG2000"),
    "tiff": pillows("TIFF"),
    "tiff lzw": pillows("TIFF", compression="tiff_lzw"),
    "tiff jpeg": pillows("TIFF", compression="jpeg"),
    "tiff 16": tiffs(DEEP, photometric="rgb"),
    "tiff 16 planar": tiffs(np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate"),
    "tiff 16 zlib": tiffs(DEEP, photometric="rgb", compression="zlib", predictor=True),
    "tiff float": tiffs(FLOATS, tile=(16, 16)),
    "bigtiff": tiffs(DEEP, photometric="rgb", bigtiff=True),
}


@st.composite
def damaged(draw, content):
    """The content of a file cut off, or with a few bytes changed, removed or doubled, mostly in its head."""
    found = bytearray(content)
    places = st.integers(0, len(found) - 1) | st.integers(0, min(len(found) - 1, 200))
    if draw(st.booleans()):
        return bytes(found[: draw(places)])
    for at, old, new in draw(
        st.lists(st.tuples(places, st.integers(0, 9), st.binary(max_size=9)), min_size=1, max_size=9)
    ):
        found[at : at + old] = new
    return bytes(found)


SOME = settings(max_examples=12, deadline=None, derandomize=True, database=None)
LONG = 400
"""The most letters of a message."""


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage before it goes on
@pytest.mark.parametrize("name", FILES)
def test_damage_gives_a_picture_or_one_line(name):
    ended = Counter()
    assert load_image(FILES[name]).shape in ((13, 17, 3), (17, 13, 3))

    @SOME
    @given(damaged(FILES[name]))
    def reads(content):
        try:
            found = load_image(content, max_pixels=200_000)
        except ImageError as error:
            assert "\n" not in str(error) and len(str(error)) < LONG
            ended["error"] += 1
        else:
            assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3 and found.size

    reads()
    assert ended["error"] > 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["png palette", "tiff lzw", "tiff 16", "gif", "bmp"])
def test_damaged_labels_give_labels_or_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_MAX_PIXELS", "200000")
    ended = Counter()

    @SOME
    @given(damaged(FILES[name]))
    def reads(content):
        (tmp_path / "a").write_bytes(content)
        try:
            found = load_labels(tmp_path / "a", (13, 17))
        except DataError as error:
            assert "\n" not in str(error) and len(str(error)) < LONG
            ended["error"] += 1
        else:
            assert found.shape == (13, 17) and found.dtype in (np.uint8, np.uint16)

    reads()
    assert ended["error"] > 1


@pytest.mark.parametrize(
    "kind", [RuntimeError, AttributeError, ZeroDivisionError, OverflowError, MemoryError, KeyError]
)
def test_whatever_a_decoder_raises_is_an_image_error(monkeypatch, kind):
    def broken(image, *arguments):
        raise kind("inside\nthe decoder")

    monkeypatch.setattr(pillow, "_eight_bits", broken)
    for source in (FILES["png"], Image.fromarray(RGB)):
        with pytest.raises(ImageError) as caught:
            load_image(source)
        assert "\n" not in str(caught.value)


def test_a_stop_by_the_user_is_passed_on(monkeypatch):
    def stopped(image, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pillow, "_eight_bits", stopped)
    with pytest.raises(KeyboardInterrupt):
        load_image(FILES["png"])
