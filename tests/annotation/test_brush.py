"""Label Studio's brush: equal to golden vectors of its SDK (2.1.2), and back; hostile bytes are one line."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from ovseg.annotation.formats.brush import decode_brush, encode_brush
from ovseg.errors import DataError

NAMES = "one pixel, one pixel image, empty, full, noise, hole, parts, first pixel, runs over 65536"


@pytest.fixture(scope="module")
def golden(root):
    """tests/data/annotate/label_studio_brush.json: mask2rle of label_studio_sdk.converter.brush."""
    return json.loads((root / "tests/data/annotate/label_studio_brush.json").read_text())


def mask_of(vector):
    height, width = vector["size"]
    bits = np.unpackbits(np.frombuffer(base64.b64decode(vector["mask"]), np.uint8))[: height * width]
    return bits.reshape(height, width).astype(bool)


@pytest.mark.parametrize("name", NAMES.split(", "))
def test_bytes_are_those_of_the_sdk_but_for_its_byte_of_padding(golden, name):
    vector = golden[name]
    own = encode_brush(mask_of(vector))
    assert own == vector["rle"] or [*own, 0] == vector["rle"]


@pytest.mark.parametrize("name", NAMES.split(", "))
def test_the_sdks_bytes_are_read(golden, name):
    vector = golden[name]
    assert (decode_brush(vector["rle"], tuple(vector["size"])) == mask_of(vector)).all()


def test_every_vector_is_used(golden):
    assert list(golden) == NAMES.split(", ")


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24)))
@settings(deadline=None)
def test_masks_come_back(mask):
    assert (decode_brush(encode_brush(mask), mask.shape) == mask).all()


def test_damaged_bytes_are_one_line():
    good = encode_brush(np.random.default_rng(1).random((9, 9)) < 0.5)
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(300):
        wrong = list(good[: rng.integers(0, len(good))]) if rng.random() < 0.5 else list(good)
        for _ in range(rng.integers(1, 4)):
            if wrong:
                wrong[rng.integers(len(wrong))] = int(rng.integers(256))
        try:
            assert decode_brush(wrong, (9, 9)).shape == (9, 9)
        except DataError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "wrong", [[], [256], [-1], ["a"], [0.5], None, "rle", encode_brush(np.ones((2, 3), bool))]
)
def test_what_is_no_brush_of_this_image_is_refused(wrong):
    with pytest.raises(DataError, match="expected run lengths"):
        decode_brush(wrong, (2, 2))
