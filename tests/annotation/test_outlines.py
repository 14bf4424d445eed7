"""Polygons, each read by its reader: pycocotools to the pixel, ImageDraw and OpenCV nearly so."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw
from pycocotools import mask as rle

from ovseg.annotation.formats.shapes import centre_polygons, edge_polygons
from ovseg.errors import DataError
from ovseg.results.coco import Mask


def by_pycocotools(polygons, size):
    if not polygons:
        return np.zeros(size, bool)
    flat = [[side for point in polygon for side in point] for polygon in polygons]
    return rle.decode(rle.merge(rle.frPyObjects(flat, *size))).astype(bool)


def by_image_draw(polygons, size):
    out = np.zeros(size, bool)
    for polygon in polygons:
        image = Image.new("L", size[::-1])
        ImageDraw.Draw(image).polygon(polygon if len(polygon) > 1 else polygon * 2, outline=1, fill=1)
        out |= np.asarray(image) > 0
    return out


def by_opencv(polygons, size):
    out = np.zeros(size, np.uint8)
    for polygon in polygons:
        one = np.zeros(size, np.uint8)
        cv2.fillPoly(one, [np.array(polygon, np.int32)], (1,))
        out |= one
    return out > 0


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24)))
@settings(deadline=None)
def test_edge_polygons_give_any_mask_back_to_pycocotools(mask):
    assert (by_pycocotools(edge_polygons(mask), mask.shape) == mask).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_edge_polygons_of_noise(share):
    """Holes in holes, pixels that touch at corners, objects at the border."""
    mask = np.random.default_rng(11).random((60, 70)) < share
    assert (by_pycocotools(edge_polygons(mask), mask.shape) == mask).all()


def blobs(seed):
    noise = np.random.default_rng(seed).random((120, 160)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 4) > 0.5


@pytest.mark.parametrize("reader", [by_image_draw, by_opencv])
def test_centre_polygons_are_read_by_labelme_and_ultralytics(reader):
    for seed in range(4):
        mask = blobs(seed)
        back = reader(centre_polygons(mask), mask.shape)
        assert (back & mask).sum() / (back | mask).sum() > 0.998


def test_edges_read_as_centres_would_not_pass():
    """The bounds above tell the two kinds of coordinates apart."""
    mask = blobs(0)
    back = by_image_draw(edge_polygons(mask), mask.shape)
    assert (back & mask).sum() / (back | mask).sum() < 0.95


def test_the_largest_part_comes_first():
    mask = np.zeros((20, 20), bool)
    mask[1, 1] = mask[5:9, 5:9] = mask[12:19, 12:19] = True
    assert [polygon[0] for polygon in centre_polygons(mask)] == [(12, 12), (5, 5), (1, 1)]
    assert len(centre_polygons(mask)[2]) == 1 and centre_polygons(np.zeros((3, 3), bool)) == []


def test_masks_of_values_and_boxes_are_those_of_whole_arrays():
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(200):
        height, width = rng.integers(1, 7, 2).tolist()
        values = rng.integers(0, 4, (height, width))
        found = dict(Mask.of_values(values))
        assert list(found) == np.unique(values).tolist()
        for value, mask in found.items():
            assert mask == Mask.of(values == value)
            compared += 1
        (x0, x1), (y0, y1) = (sorted(rng.integers(0, side + 1, 2).tolist()) for side in (width, height))
        box = np.zeros((height, width), bool)
        box[y0:y1, x0:x1] = True
        assert Mask.of_box((x0, y0, x1, y1), (height, width)) == Mask.of(box)
    assert compared > 400
    with pytest.raises(DataError, match="at most 100,000 objects in an image, got 102,400"):
        list(Mask.of_values(np.arange(320 * 320).reshape(320, 320)))
