"""Every kind of image file a user might have."""

from __future__ import annotations

import io
import os
import socket
import threading
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg.errors import ImageError, UsageError
from ovseg.files.pictures import load_image
from ovseg.files.values import GROUND


@pytest.fixture
def ramp():
    return np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def test_rgb_is_itself_from_every_source(ramp, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(ramp).save(path)
    content = path.read_bytes()
    with path.open("rb") as opened:
        sources = (ramp, Image.fromarray(ramp), path, str(path), content, io.BytesIO(content), opened)
        for source in sources:
            assert np.array_equal(load_image(source), ramp)
            assert not load_image(source).flags.writeable
    assert (
        np.shares_memory(load_image(ramp), ramp) and ramp.flags.writeable
    )  # not copied, and still the caller's
    read = load_image(path)
    assert load_image(read) is read


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
def test_exif_orientation_is_honoured(ramp, tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(ramp)
    options = {"lossless": True} if ending == "webp" else {}
    picture.save(tmp_path / f"a.{ending}", exif=exif, **options)
    found = load_image(tmp_path / f"a.{ending}")
    assert np.array_equal(found, TURNS[orientation](ramp))


def test_damaged_exif_leaves_the_picture_as_it_is_stored(ramp, tmp_path):
    for number, exif in enumerate((b"Exif\0\0MM\0*\xff\xff\xff\xff", b"nonsense", b"")):
        Image.fromarray(ramp).save(tmp_path / f"{number}.png", exif=exif)
        assert np.array_equal(load_image(tmp_path / f"{number}.png"), ramp)


def test_sixteen_bits_keep_their_upper_byte(tmp_path):
    deep = np.array([[0, 255, 256, 32767, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "a.tiff")
    (tmp_path / "a.pgm").write_bytes(b"P5 6 1 65535\n" + deep.astype(">u2").tobytes())
    for ending in ("png", "tiff", "pgm"):
        assert load_image(tmp_path / f"a.{ending}")[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255]


@pytest.mark.parametrize("ending", ["png", "tiff", "ppm"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_sixteen_bits_keep_their_upper_byte(tmp_path, ending, channels):
    deep = np.random.default_rng(0).integers(0, 65536, (9, 11, channels), np.uint16)
    deep[..., 3:] = 65535
    channels = 3 if ending == "ppm" else channels  # it has no opacity
    assert cv2.imwrite(
        str(tmp_path / f"a.{ending}"), np.ascontiguousarray(deep[..., [2, 1, 0, 3][:channels]])
    )
    assert np.array_equal(load_image(tmp_path / f"a.{ending}"), deep[..., :3] >> 8)


def test_a_truncated_ppm_of_sixteen_bits_is_one_line(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 9 9 65535\n" + b"\0" * 99)
    with pytest.raises(ImageError, match="cannot be decoded"):
        load_image(tmp_path / "a.ppm")


def test_grey_cmyk_lab_and_bits(tmp_path):
    Image.new("L", (3, 2), 77).save(tmp_path / "grey.png")
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("1", (3, 2), 1).save(tmp_path / "bits.png")
    Image.new("LAB", (3, 2), (136, 208, 195)).save(tmp_path / "lab.tiff")
    assert load_image(tmp_path / "grey.png").tolist() == [[[77] * 3] * 3] * 2
    for name in ("cmyk.jpg", "lab.tiff"):
        red = load_image(tmp_path / name)
        assert red[..., 0].min() > 240 and red[..., 1:].max() < 25
    assert load_image(tmp_path / "bits.png").min() == 255


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La"]
    + ["I;16", "I;16L", "I;16B"],
)
def test_pil_images_of_any_mode(mode):
    found = load_image(Image.new(mode, (5, 4)))
    assert found.shape == (4, 5, 3) and found.dtype == np.uint8


def test_transparency_lies_on_white(tmp_path):
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 1, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    indexed = Image.fromarray(np.array([[0, 1]], np.uint8))
    indexed.putpalette([0, 0, 0, 0, 0, 0])
    indexed.save(tmp_path / "palette.png", transparency=0)
    indexed.save(tmp_path / "palette.gif", transparency=0)
    Image.fromarray(np.array([[3, 0]], np.uint8)).save(tmp_path / "grey.png", transparency=3)
    Image.fromarray(np.array([[300, 0]], np.uint16)).save(tmp_path / "deep.png", transparency=300)
    Image.fromarray(rgba[..., [0, 3]]).save(tmp_path / "la.png")
    Image.fromarray(rgba).save(tmp_path / "rgba.webp", lossless=True)
    for path in sorted(tmp_path.iterdir()):
        assert load_image(path)[0].tolist() == [list(GROUND), [0, 0, 0]], path.name
    assert load_image(rgba)[0].tolist() == [list(GROUND), [0, 0, 0]]


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    for ending in ("gif", "webp", "png", "tiff"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
        found = load_image(tmp_path / f"a.{ending}")
        assert found.shape == (3, 4, 3) and found[0, 0, 0] > 240 and found[0, 0, 2] < 15


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


def _fifo(folder):
    os.mkfifo(folder / "pipe.jpg")
    return folder / "pipe.jpg"


def _socket(folder):
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(os.path.relpath(folder / "s"))
    opened.close()
    return folder / "s"


def _heic(folder):
    (folder / "h.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99)
    return folder / "h.heic"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda folder: folder / "none.jpg", "none.jpg does not exist"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: "x" * 9999, "does not exist"),
        (lambda folder: "a\0b", "does not exist"),
        (lambda folder: "a\nb", r"'a\\nb' does not exist"),
        (lambda folder: "~nobody-of-this-name/a.png", "does not exist"),
        (lambda folder: "/dev/null", "is a device"),
        (_fifo, "is a FIFO"),
        (_socket, "is a socket"),
        (_text, "t.jpg is not one"),
        (_empty, "e.png is not one"),
        (_truncated, "c.jpg cannot be decoded.*truncated"),
        (_heic, "h.heic cannot be read: HEIC needs pillow-heif"),
        (lambda folder: b"", "the data is not one"),
        (lambda folder: io.BytesIO(b"nothing"), "the open file is not one"),
        (lambda folder: Image.new("RGB", (0, 5)), "expected an image with pixels"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match=message) as caught:
        load_image(make(tmp_path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1100


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    def refused(path, mode):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr(type(tmp_path), "open", refused)
    with pytest.raises(ImageError, match=r"can be read, .*a\.png: Permission denied"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (7, "got int"),
        (None, "got NoneType"),
        ([1, 2], "got list"),
        ({}, "got dict"),
        (io.StringIO("x"), "binary mode, got str"),
        ("ftp://host/a.jpg", "the address ftp://host/a.jpg: download it first"),
    ],
)
def test_other_types_are_misuse(wrong, message):
    with pytest.raises(UsageError, match=message):
        load_image(wrong)


def test_a_quoted_tilde_is_the_home_folder(ramp, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert np.array_equal(load_image("~/a.png"), ramp)


def test_a_truncated_picture_that_pillow_has_opened_already(tmp_path):
    with (
        Image.open(_truncated(tmp_path)) as picture,
        pytest.raises(ImageError, match="the PIL image cannot be"),
    ):
        load_image(picture)


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "gif"])
def test_the_limit_on_pixels_can_be_raised_and_lowered(tmp_path, monkeypatch, ending):
    path = tmp_path / f"a.{ending}"
    Image.new("L", (9, 9)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow's own limit has no say
    assert load_image(path).shape == (9, 9, 3)
    for limit in ({"max_pixels": 80}, {}):
        monkeypatch.setenv("OVSEG_MAX_PIXELS", "80")
        with pytest.raises(ImageError, match="at most 80 pixels, .* has 9 x 9 .*GB.*OVSEG_MAX_PIXELS"):
            load_image(path, **limit)
    assert load_image(path, max_pixels=81).shape == (9, 9, 3)
    with pytest.raises(ImageError, match="at most 80"):
        load_image(np.zeros((9, 9), np.uint8))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "many"])
def test_a_limit_that_is_no_number_of_pixels_is_misuse(wrong, monkeypatch):
    picture = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(UsageError, match="expected max_pixels as a positive number"):
        load_image(picture, max_pixels=wrong)
    monkeypatch.setenv("OVSEG_MAX_PIXELS", str(wrong))
    with pytest.raises(UsageError, match="expected OVSEG_MAX_PIXELS as a positive number"):
        load_image(picture)


@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
def test_threads_leave_the_filters_of_warnings_alone(tmp_path, ending):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (90, 80, 3), np.uint8) for _ in range(8)]
    for number, picture in enumerate(pictures):
        options = {"lossless": True} if ending == "webp" else {}
        Image.fromarray(picture).save(tmp_path / f"{number}.{ending}", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before, shown_by = list(warnings.filters), warnings.showwarning
        wrong = []

        def read(number):
            for _ in range(20):
                if not np.array_equal(load_image(tmp_path / f"{number}.{ending}"), pictures[number]):
                    wrong.append(number)
                if warnings.filters != before or warnings.showwarning is not shown_by:
                    wrong.append("filters")

        threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong and warnings.filters == before
