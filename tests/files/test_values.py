"""The one rule for pixel values: which range they have, and what is missing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ovseg.errors import ImageError
from ovseg.files import values as values_module
from ovseg.files.pictures import load_image
from ovseg.files.values import GROUND, to_rgb

NAN, INF, MOST = np.nan, np.inf, np.float32(3.4028235e38)


def grey(values, dtype, **options):
    return to_rgb(np.array(values, dtype).reshape(1, -1, 1), **options)[0, :, 0].tolist()


@pytest.mark.parametrize(
    "values, dtype, wanted",
    [
        ([0, 7, 255], np.uint8, [0, 7, 255]),
        ([0, 7, 255], np.uint16, [0, 7, 255]),
        ([0, 7, 255], np.int32, [0, 7, 255]),
        ([0, 7, 255], ">u2", [0, 7, 255]),
        ([0, 256, 65535], np.uint16, [0, 1, 255]),
        ([0, 256, 65535], ">u2", [0, 1, 255]),
        ([0, 511, 65535], np.int32, [0, 1, 255]),
        ([0, 511, 65535], np.uint64, [0, 1, 255]),
        ([False, True], bool, [0, 255]),
        ([0, 0.5, 1], np.float32, [0, 128, 255]),
        ([0, 0.5, 1], np.float16, [0, 128, 255]),
        ([0, 0.2, 0.4], np.float64, [0, 51, 102]),
        ([-1e-4, 1.0005], np.float32, [0, 255]),
        ([-1, 0, 1], np.float32, [0, 128, 255]),
        ([0, 99.6, 255], np.float32, [0, 100, 255]),
        ([0, 255, 256, 511, 512, 65535], np.float32, [0, 0, 1, 1, 2, 255]),
        ([0.5, NAN, 1], np.float32, [128, 255, 255]),
        ([0, INF, 0.5], np.float32, [0, 255, 128]),
        ([0, -INF, 0.5], np.float32, [0, 255, 128]),
        ([0, MOST, -MOST, 0.5], np.float32, [0, 255, 255, 128]),
        ([NAN, NAN], np.float32, [255, 255]),
    ],
)
def test_values_that_are_present_decide_the_range(values, dtype, wanted):
    assert grey(values, dtype) == wanted


def by_the_table(values):
    """The rule of ``to_rgb`` as its docstring has it, one value after the other; None for an error."""
    given = [float(value) for value in values.flat]
    present = [value for value in given if abs(value) < 1e30]  # NaN compares as False
    low, high = (min(present), max(present)) if present else (0.0, 0.0)
    floats, upper = values.dtype.kind == "f", low >= 0 and 32768 <= high <= 65535
    wide = values.dtype.kind == "u" and values.dtype.itemsize == 2
    rows = [
        (values.dtype.kind == "b", lambda value: value * 255),
        (not floats and low >= 0 and high <= 255, lambda value: value),
        (not floats and (wide or upper), lambda value: value // 256),
        (floats and low >= -1e-3 and high <= 1.001, lambda value: value * 255),
        (floats and low >= -1.001 and high <= 1.001, lambda value: (value + 1) * 127.5),
        (floats and low >= 0 and 16 <= high <= 255, lambda value: value),
        (floats and upper, lambda value: value // 256),
    ]
    make = next((make for holds, make in rows if holds), None)
    return make and [min(max(make(value), 0), 255) if abs(value) < 1e30 else 255 for value in given]


ENDS = [
    0,
    1,
    -1,
    0.5,
    16,
    255,
    256,
    511,
    32767,
    32768,
    65535,
    65536,
    1.001,
    -1.001,
    NAN,
    INF,
    -INF,
    float(MOST),
]


@st.composite
def grey_values(draw):
    dtype = np.dtype(draw(st.sampled_from("? u1 >u2 u2 i2 i4 u8 f2 f4 >f4 f8".split())))
    high = draw(st.sampled_from([1, 255, 65535, 10**6]))
    numbers = st.sampled_from(ENDS) | st.floats(-1, 1) | st.floats(0, high)
    drawn = np.array(draw(st.lists(numbers, min_size=1, max_size=6)), np.float64)
    if dtype.kind != "f":
        bounds = np.iinfo(dtype.str) if dtype.kind in "iu" else SimpleNamespace(min=0, max=1)
        drawn = np.clip(np.nan_to_num(drawn, posinf=0, neginf=0), bounds.min, min(bounds.max, 10**6))
    with np.errstate(over="ignore"):
        return drawn.astype(dtype)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(grey_values())
def test_every_value_becomes_what_the_table_says(values):
    wanted = by_the_table(values)
    if wanted is None:
        with pytest.raises(ImageError, match=r"got .*\.\..*: scale them to 0..1 and pass the array"):
            to_rgb(values.reshape(1, -1, 1))
    else:
        found = to_rgb(values.reshape(1, -1, 1))[0, :, 0]
        assert np.abs(found - np.array(wanted)).max() <= 0.5 + 1e-4 * 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_round_trip_through_floats_changes_nothing(dtype):
    values = np.arange(256, dtype=np.uint8)[None, :, None]
    for unit in (np.float32, np.float64):
        assert np.array_equal(to_rgb(values.astype(unit) / unit(255))[..., :1], values)
        assert np.array_equal(to_rgb(values.astype(unit) / unit(127.5) - 1)[..., :1], values)


@pytest.mark.parametrize(
    "values, dtype",
    [
        ([0, 10000], np.float32),
        ([0, 1.5], np.float32),
        ([-5, 20], np.float32),
        ([0, 70000], np.float64),
        ([-1, 7], np.int32),
        ([-9999, 200], np.int16),
        ([0, 10000], np.int32),
        ([0, 70000], np.uint32),
    ],
)
def test_a_range_that_cannot_be_told_is_an_error_that_says_what_to_pass(values, dtype):
    with pytest.raises(ImageError, match=r"got .*\.\..*: scale them to 0..1 and pass the array"):
        grey(values, dtype)


@pytest.mark.parametrize(
    "values, dtype, nodata, wanted",
    [
        ([-9999, 0, 0.5], np.float32, -9999, [255, 0, 128]),
        ([-9999, 0, 255], np.int16, -9999, [255, 0, 255]),
        ([65535, 0, 200], np.uint16, 65535, [255, 0, 200]),
        ([0, 7, 9], np.uint8, 0, [255, 7, 9]),
        ([0, 7, 9], np.uint8, -9999, [0, 7, 9]),
        ([0, 7, 9], np.uint8, 7.5, [0, 7, 9]),
        ([0, 7, 9], np.uint8, NAN, [0, 7, 9]),
        ([0, NAN, 1], np.float32, NAN, [0, 255, 255]),
        ([0, 0.5, 1], np.float32, 1e300, [0, 128, 255]),
    ],
)
def test_nodata_is_white_and_decides_no_range(values, dtype, nodata, wanted):
    assert grey(values, dtype, nodata=nodata) == wanted


def test_a_colour_pixel_misses_where_one_float_or_all_nodata_bands_do():
    floats = np.array([[[0.5, NAN, 0.5], [0, 0.5, 1]]], np.float32)
    assert to_rgb(floats)[0].tolist() == [list(GROUND), [0, 128, 255]]
    bands = np.array([[[0, 0, 0], [0, 5, 0]]], np.uint8)
    assert to_rgb(bands, nodata=0)[0].tolist() == [list(GROUND), [0, 5, 0]]
    assert bands[0, 0].tolist() == [0, 0, 0]  # the caller's array is not written to


def test_opacity_of_sixteen_bits_shares_the_range_of_dark_colours():
    colours, alpha = np.full((1, 2, 3), 200, np.uint16), np.array([[65535, 0]], np.uint16)
    assert to_rgb(colours, alpha)[0].tolist() == [[0, 0, 0], list(GROUND)]


def test_opacity_of_floats_has_a_range_of_its_own():
    colours = np.full((1, 2, 3), 200.0, np.float32)
    assert to_rgb(colours, np.array([[0.0, 1.0]], np.float32))[0].tolist() == [list(GROUND), [200] * 3]
    with pytest.raises(ImageError, match="values of a picture's opacity"):
        to_rgb(colours, np.array([[0.0, NAN]], np.float32))


def test_bands_of_rows_share_one_range_and_keep_their_gaps(monkeypatch):
    monkeypatch.setattr(
        values_module, "row_bands", lambda height, width: (slice(k, k + 1) for k in range(height))
    )
    values = np.array([0.0, NAN, 0.2, 200.0], np.float32)[:, None, None]
    assert to_rgb(values)[:, 0, 0].tolist() == [0, 255, 0, 200]


def test_fewer_bits_than_the_type_has():
    assert grey([0, 300, 4095], np.uint16, bits=12) == [0, 18, 255]


@pytest.mark.parametrize("bad", [NAN, INF, -INF, MOST])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3)])
def test_one_bad_value_leaves_the_rest_of_a_float_tiff(tmp_path, bad, shape):
    values = np.full(shape, 0.5, np.float32)
    values[1, 2] = bad
    tifffile.imwrite(tmp_path / "a.tif", values)
    found = load_image(tmp_path / "a.tif")
    assert found[1, 2].tolist() == list(GROUND)
    assert found[0, 0].tolist() == [128] * 3


def test_integers_of_32_bits_and_floats_through_pillow(tmp_path):
    Image.fromarray(np.array([[0, 128, 255]], np.int32)).save(tmp_path / "a.tif")
    assert load_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 128, 255]
    assert load_image(Image.fromarray(np.array([[0, 0.5, NAN]], np.float32)))[0, :, 0].tolist() == [
        0,
        128,
        255,
    ]
