"""Resizing: three ways, each held to the library it names."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg.errors import OvsegError, UsageError
from ovseg.files.sizes import HOWS, resize_image
from ovseg.options import RESIZES

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def test_the_ways_are_those_of_the_options():
    assert tuple(HOWS) == RESIZES


@pytest.mark.parametrize("size", [(30, 40), (7, 79), (60, 33), (20, 80), (1, 1)])
def test_opencv_averages_areas_where_no_side_grows(size):
    wanted = cv2.resize(PICTURE, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.array_equal(resize_image(PICTURE, size), wanted)


@pytest.mark.parametrize("size", [(90, 120), (61, 300), (60, 90), (75, 80)])
def test_opencv_is_bicubic_where_no_side_shrinks(size):
    wanted = cv2.resize(PICTURE, size[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(resize_image(PICTURE, size), wanted)


@pytest.mark.parametrize("size", [(15, 160), (240, 20)])
def test_the_side_that_shrinks_is_antialiased_where_the_other_grows(size):
    stripes = np.zeros((60, 80, 3), np.uint8)
    if size[0] < 60:
        stripes[::2] = 255  # the finest stripes across the side that shrinks average to grey
    else:
        stripes[:, ::2] = 255
    found = resize_image(stripes, size).astype(int)
    assert found.shape == (*size, 3) and np.abs(found - 127.5).max() < 2


@pytest.mark.parametrize("size", [(30, 40), (90, 120), (15, 160)])
def test_pillow_and_bilinear_are_those_libraries(size):
    wanted = np.asarray(Image.fromarray(PICTURE).resize(size[::-1], Image.Resampling.BICUBIC))
    assert np.array_equal(resize_image(PICTURE, size, how="pillow"), wanted)
    wanted = cv2.resize(PICTURE, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize_image(PICTURE, size, how="bilinear"), wanted)


@pytest.mark.parametrize("how", RESIZES)
def test_the_same_size_is_the_same_array(how):
    assert resize_image(PICTURE, (60, 80), how) is PICTURE


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5,), (1, 2, 3), (2.5, 3), ("5", 5), 7, None, "ab"])
def test_a_size_without_pixels_is_misuse(size):
    with pytest.raises(UsageError, match="expected a size"):
        resize_image(PICTURE, size)


@pytest.mark.parametrize(
    "wrong", [PICTURE.astype(np.float32), PICTURE[..., 0], PICTURE[..., :2], None, "a.jpg"]
)
def test_another_picture_is_misuse(wrong):
    for how in RESIZES:
        with pytest.raises(UsageError, match=r"expected a picture \(H, W, 3\) uint8, got"):
            resize_image(wrong, (5, 5), how)


def test_an_unknown_way_and_a_size_beyond_memory():
    with pytest.raises(UsageError, match="unknown resize 'area': expected one of opencv, pillow, bilinear"):
        resize_image(PICTURE, (5, 5), how="area")
    for how in RESIZES:
        with pytest.raises(OvsegError, match="does not fit into memory"):
            resize_image(PICTURE, (2**31 + 5, 2**31 + 5), how=how)
