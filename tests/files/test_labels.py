"""Label files: indices as stored, upright, and of their image's size."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from ovseg.errors import DataError, UsageError
from ovseg.files.labels import load_labels
from ovseg.files.pictures import load_image
from ovseg.files.write import write_labels, write_picture
from ovseg.results.figures import palette

LABELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_eight_and_sixteen_bits_keep_their_values(tmp_path):
    many = np.array([[0, 255, 256, 1027, 65535]], np.uint16)
    for ending in ("png", "tif"):
        Image.fromarray(many).save(tmp_path / f"a.{ending}")
        found = load_labels(tmp_path / f"a.{ending}")
        assert found.dtype == np.uint16 and np.array_equal(found, many)
        Image.fromarray(LABELS).save(tmp_path / f"b.{ending}")
        found = load_labels(str(tmp_path / f"b.{ending}"))
        assert found.dtype == np.uint8 and np.array_equal(found, LABELS)


@pytest.mark.parametrize("ending", ["png", "gif", "bmp", "tif"])
def test_a_palette_gives_its_indices(tmp_path, ending):
    picture = Image.fromarray(LABELS)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    options = {"optimize": False} if ending == "gif" else {}
    picture.save(tmp_path / f"a.{ending}", **options)
    assert np.array_equal(load_labels(tmp_path / f"a.{ending}"), LABELS)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colour_type", [0, 3], ids=["grey", "palette"])
def test_few_bits_are_not_stretched(tmp_path, bits, colour_type):
    values = np.arange(2**bits, dtype=np.uint8)[:8]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packed = np.packbits(np.unpackbits(values[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
    header = struct.pack(">IIBBBBB", len(values), 1, bits, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header)
    chunks += chunk(b"PLTE", bytes(3 * 2**bits)) if colour_type == 3 else b""
    chunks += chunk(b"IDAT", zlib.compress(b"\0" + packed)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert load_labels(tmp_path / "a.png").tolist() == [values.tolist()]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int64])
def test_wider_integers_of_a_tiff_are_indices_where_they_fit(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 300]], dtype))
    assert load_labels(tmp_path / "a.tif").tolist() == [[0, 300]]
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, -1]]).astype(dtype))
    with pytest.raises(DataError, match=r"expected labels in 0\.\.65535"):
        load_labels(tmp_path / "a.tif")


def test_lzw_that_tifffile_cannot_read(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(load_labels(tmp_path / "a.tif"), LABELS)


def _turned_photograph(folder, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png", exif=exif)
    return load_image(folder / "photo.png"), exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_upright_label_of_a_turned_photograph_is_accepted(tmp_path, orientation):
    image, _ = _turned_photograph(tmp_path, orientation)
    upright = np.arange(image.shape[0] * image.shape[1], dtype=np.uint8).reshape(image.shape[:2])
    write_labels(tmp_path / "own.png", upright, palette(12))  # as ovseg segment writes it
    Image.fromarray(upright).save(tmp_path / "grey.png")
    for name in ("own.png", "grey.png"):
        assert np.array_equal(load_labels(tmp_path / name, image.shape), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_label_with_the_orientation_of_its_photograph_is_turned_with_it(tmp_path, orientation):
    image, exif = _turned_photograph(tmp_path, orientation)
    marks = np.zeros((3, 4), np.uint8)
    marks[0, 1] = 1
    for ending in ("png", "tif"):
        Image.fromarray(marks).save(tmp_path / f"label.{ending}", exif=exif)
        found = load_labels(tmp_path / f"label.{ending}", image.shape)
        with Image.open(tmp_path / "photo.png") as photo:
            stored = np.asarray(photo)
        assert np.array_equal(image[found == 1], stored[marks == 1])


def test_a_label_in_the_orientation_of_the_sensor_is_refused_where_it_shows(tmp_path):
    image, _ = _turned_photograph(tmp_path, 6)
    Image.fromarray(LABELS).save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"expected labels of \(4, 3\).*has \(3, 4\); its sides are exchanged.*EXIF"
    ):
        load_labels(tmp_path / "a.png", image.shape)
    with pytest.raises(DataError, match=r"expected labels of \(9, 9\) pixels.*has \(3, 4\)$"):
        load_labels(tmp_path / "a.png", (9, 9))


def _float_tiff(path):
    tifffile.imwrite(path, np.zeros((3, 4), np.float32))


def _two_channels(path):
    tifffile.imwrite(path, np.zeros((3, 4, 3), np.uint8), photometric="rgb")


@pytest.mark.parametrize(
    "name, make, message",
    [
        ("a.png", lambda path: None, "expected a label file, .* does not exist"),
        ("a.png", lambda path: path.mkdir(), "is a folder"),
        ("a.png", lambda path: path.write_bytes(b"text"), "a.png is not one"),
        ("a.png", lambda path: Image.new("RGB", (4, 3)).save(path), "mode RGB: it holds colours"),
        ("a.png", lambda path: Image.new("LA", (4, 3)).save(path), "mode LA"),
        ("a.jpg", lambda path: Image.new("L", (4, 3)).save(path), "JPEG, which changes indices"),
        ("a.webp", lambda path: Image.new("L", (4, 3)).save(path), "WEBP, which changes indices"),
        ("a.tif", _float_tiff, "expected labels as integers"),
        ("a.tif", _two_channels, "expected labels of one channel"),
    ],
)
def test_what_is_no_label_is_one_line(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        load_labels(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_none_is_misuse():
    for wrong in (None, 5, np.zeros((2, 2), np.uint8)):
        with pytest.raises(UsageError, match="expected the path of a label file"):
            load_labels(wrong)


def test_a_truncated_label_is_one_line(tmp_path):
    write_picture(tmp_path / "a.png", np.random.default_rng(0).integers(0, 99, (90, 90), np.uint8))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(DataError, match="cannot be decoded"):
        load_labels(tmp_path / "a.png")
