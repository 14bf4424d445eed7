"""Every kind of image file a user might have."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import ImageError, UsageError
from ovseg.io import images
from ovseg.io.images import find_images, load_image, output_stems


@pytest.fixture
def ramp():
    return np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def test_rgb_is_itself_from_every_source(ramp, tmp_path):
    Image.fromarray(ramp).save(tmp_path / "a.png")
    for source in (ramp, Image.fromarray(ramp), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(load_image(source), ramp)


def test_exif_orientation_is_honoured(ramp, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned right by 90 degrees
    Image.fromarray(ramp).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "a.png"), np.rot90(ramp, -1))


def test_sixteen_bits_keep_their_upper_byte(tmp_path):
    deep = np.array([[0, 256, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0, 127, 255]


def test_grey_cmyk_and_bits(tmp_path):
    Image.new("L", (3, 2), 77).save(tmp_path / "grey.png")
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("1", (3, 2), 1).save(tmp_path / "bits.png")
    Image.fromarray(np.full((2, 3), 0.5, np.float32)).save(tmp_path / "float.tiff")
    assert load_image(tmp_path / "grey.png").tolist() == [[[77] * 3] * 3] * 2
    red = load_image(tmp_path / "cmyk.jpg")
    assert red[..., 0].min() > 240 and red[..., 1:].max() < 15
    assert load_image(tmp_path / "bits.png").min() == 255
    assert load_image(tmp_path / "float.tiff")[0, 0, 0] == 127


def test_transparency_lies_on_white(tmp_path):
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 1, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    indexed = Image.fromarray(np.array([[0, 1]], np.uint8))
    indexed.putpalette([0, 0, 0, 0, 0, 0])
    indexed.save(tmp_path / "b.png", transparency=0)
    for name in ("a.png", "b.png"):
        assert load_image(tmp_path / name)[0, :, 0].tolist() == [255, 0]


def _missing(folder):
    return folder / "none.jpg"


def _folder(folder):
    return folder


def _text(folder):
    (folder / "t.jpg").write_text("not an image")
    return folder / "t.jpg"


def _empty(folder):
    (folder / "e.png").write_bytes(b"")
    return folder / "e.png"


def _truncated(folder):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)).save(folder / "c.jpg")
    (folder / "c.jpg").write_bytes((folder / "c.jpg").read_bytes()[:900])
    return folder / "c.jpg"


@pytest.mark.parametrize(
    "make, message",
    [
        (_missing, "none.jpg does not exist"),
        (_folder, "is a folder"),
        (_text, "t.jpg is not one"),
        (_empty, "e.png is not one"),
        (_truncated, "c.jpg cannot be decoded.*truncated"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, make, message):
    with pytest.raises(ImageError, match=message) as caught:
        load_image(make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pixels", [50, 20], ids=["between", "pillow's own error"])
def test_bombs(tmp_path, monkeypatch, pixels):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(ImageError, match=f"at most {pixels} pixels"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), 7], ids=str
)
def test_other_types_are_misuse(wrong):
    with pytest.raises(UsageError, match="wanted"):
        load_image(wrong)


def test_folders_are_searched_and_names_do_not_collide(tmp_path):
    for name in ("a/x.png", "a/x.jpg", "b/x.png", "a/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "none").mkdir()
    files, empty = find_images([tmp_path / "a", tmp_path / "b" / "x.png", tmp_path / "none", tmp_path / "a"])
    assert [f.relative_to(tmp_path).as_posix() for f in files] == ["a/x.jpg", "a/x.png", "b/x.png"]
    assert len(empty) == 1 and "none" in empty[0]
    stems = output_stems(files)
    assert list(stems.values()) == ["x", "a_x", "b_x"]


def test_a_truncated_picture_that_pillow_has_opened_already(tmp_path):
    _truncated(tmp_path)
    with (
        Image.open(tmp_path / "c.jpg") as picture,
        pytest.raises(ImageError, match="the PIL image cannot be"),
    ):
        load_image(picture)
