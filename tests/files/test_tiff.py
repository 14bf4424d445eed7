"""TIFF in the layouts of cameras, microscopes and satellites."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from ovseg.errors import ImageError
from ovseg.files.pictures import load_image
from ovseg.files.values import GROUND

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (20, 30, 3), np.uint16)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(
    "layout", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 7}], ids=str
)
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_rgb_of_sixteen_bits_in_every_layout(tmp_path, byteorder, bigtiff, planar, layout, photometric):
    values = DEEP if planar == "contig" else np.moveaxis(DEEP, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        values,
        photometric=photometric,
        planarconfig=planar,
        byteorder=byteorder,
        bigtiff=bigtiff,
        **layout,
    )
    assert np.array_equal(load_image(tmp_path / "a.tif"), DEEP >> 8)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype, top", [(np.uint8, 255), (np.float32, 1.0), (np.float64, 255.0)])
def test_rgb_of_other_types_in_both_layouts(tmp_path, planar, dtype, top):
    eight = (DEEP >> 8).astype(np.uint8)
    values = eight if dtype == np.uint8 else (eight / 255 * top).astype(dtype)
    values = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig=planar)
    assert np.array_equal(load_image(tmp_path / "a.tif"), eight)


def test_opacity_is_laid_on_white(tmp_path):
    values = np.zeros((1, 2, 4), np.uint16)
    values[0, 1] = (65535, 0, 0, 65535)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    assert load_image(tmp_path / "a.tif")[0].tolist() == [list(GROUND), [255, 0, 0]]


def test_a_fourth_band_that_is_no_opacity_is_left_out(tmp_path):
    values = np.concatenate([DEEP, DEEP[..., :1]], 2)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(load_image(tmp_path / "a.tif"), DEEP >> 8)


@pytest.mark.parametrize("bands", [2, 4, 7])
def test_bands_without_a_meaning_are_refused(tmp_path, bands):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((9, 9, bands), np.uint16), photometric="minisblack", planarconfig=1
    )
    with pytest.raises(ImageError, match=rf"expected 1 or 3 bands, .* has {bands}: pass an array"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "dtype, nodata", [(np.uint8, 0), (np.uint16, 0), (np.int16, -9999), (np.float32, -9999.0)]
)
def test_the_tag_of_nodata_is_honoured(tmp_path, dtype, nodata):
    values = np.full((4, 5), 1 if np.dtype(dtype).kind == "f" else 77, dtype)
    values[1, 1] = nodata
    text = str(nodata)
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", len(text) + 1, text, True)])
    found = load_image(tmp_path / "a.tif")
    assert found[1, 1].tolist() == list(GROUND)
    assert found[0, 0, 0] == (255 if np.dtype(dtype).kind == "f" else 77)


def test_white_is_zero(tmp_path):
    values = np.array([[0, 65535]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "b.tif", (values >> 8).astype(np.uint8), photometric="miniswhite")
    for name in ("a.tif", "b.tif"):
        assert load_image(tmp_path / name)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_as_shallow_ones_are(tmp_path, orientation):
    for name, values in (("deep.tif", DEEP), ("shallow.tif", (DEEP >> 8).astype(np.uint8))):
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / name, values, photometric="rgb", extratags=tags)
    assert np.array_equal(load_image(tmp_path / "deep.tif"), load_image(tmp_path / "shallow.tif"))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_what_tifffile_has_no_codec_for_is_read_by_pillow(tmp_path, compression):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(load_image(tmp_path / "a.tif")[..., 0], DEEP[..., 0] >> 8)


def test_planes_in_a_compression_without_a_codec_say_what_to_install(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate")

    def missing(self, **options):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", missing)
    with pytest.raises(ImageError, match="pip install imagecodecs"):
        load_image(tmp_path / "a.tif")


def test_a_volume_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((16, 16, 16), np.uint16), volumetric=True, tile=(16, 16, 16)
    )
    with pytest.raises(ImageError, match="expected a flat picture"):
        load_image(tmp_path / "a.tif")


def test_bands_beyond_the_promise_on_memory_are_not_read(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 13), np.uint16), photometric="rgb", planarconfig=1)
    assert load_image(tmp_path / "a.tif").shape == (9, 9, 3)
    with pytest.raises(ImageError, match="at most 24 bytes a pixel, .* has 13 bands"):
        load_image(tmp_path / "a.tif", max_pixels=81)


def test_a_damaged_file_writes_nothing_to_the_log(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb", compression="zlib")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[-500:] = b"\0" * 500
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError):
        load_image(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("colours", ["rgb", "minisblack", "miniswhite"])
@pytest.mark.parametrize(
    "dtype, unit", [(np.uint8, 1), (np.uint16, 257), (np.float32, 1 / 255), (np.float64, 1 / 255)]
)
@pytest.mark.parametrize("kind, wanted", [("unassalpha", 163), ("assocalpha", 195)])
def test_both_kinds_of_opacity_are_laid_on_white_once(tmp_path, kind, wanted, dtype, unit, colours, planar):
    """A colour of 60 with an opacity of 120: 60 * 120/255 + 135, or 60 + 135 where it is multiplied."""
    values = np.full((3, 4, 4 if colours == "rgb" else 2), 60, np.float64)
    values[..., -1] = 120
    if colours == "miniswhite":
        values[..., 0] = (120 if kind == "assocalpha" else 255) - 60
    values[0, 0] = 0  # fully transparent
    values = (values * unit).astype(dtype)
    if planar == "separate":
        values = np.moveaxis(values, -1, 0)
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, values, photometric=colours, planarconfig=planar, extrasamples=[kind])
    assert np.unique(load_image(file)[1:]).tolist() == [wanted]
    assert load_image(file)[0, 0].tolist() == list(GROUND)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_samples_are_refused_without_a_warning(tmp_path, dtype, recwarn):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 4), dtype))
    with pytest.raises(ImageError, match=r"expected samples as integers or floats, .*a.tif has complex"):
        load_image(tmp_path / "a.tif")
    assert not recwarn.list


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("bands", [4, 5, 7])
def test_bytes_in_bands_without_a_meaning_are_refused_as_such(tmp_path, bands, planar):
    shape = (9, 8, bands) if planar == "contig" else (bands, 9, 8)
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric="minisblack", planarconfig=planar
    )
    with pytest.raises(ImageError, match=rf"expected 1 or 3 bands, .* has {bands}: pass an array"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3)])
def test_signed_bytes_are_read_by_the_rule_for_values(tmp_path, shape):
    values = RNG.integers(0, 128, shape, np.int8)
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert np.array_equal(
        load_image(tmp_path / "a.tif"), np.broadcast_to(values.reshape(9, 8, -1), (9, 8, 3))
    )
    tifffile.imwrite(tmp_path / "b.tif", values - 1 - values.max())
    with pytest.raises(ImageError, match="expected pixel values in .* got -"):
        load_image(tmp_path / "b.tif")
