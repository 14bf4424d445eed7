"""Run lengths are pycocotools' own; records come back from JSON; damaged ones are one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as rle

from ovseg.annotation.records import Record, parse_record, read_record
from ovseg.errors import DataError
from ovseg.results.coco import Mask

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24))


@given(MASKS)
@settings(deadline=None)
def test_run_lengths_are_those_of_pycocotools(mask):
    own = Mask.of(mask)
    coded = rle.encode(np.asfortranarray(mask, np.uint8))
    assert own.counts == coded["counts"].decode()
    assert (own.array() == mask).all() and own.area == mask.sum() == own.checked().area
    x, y, width, height = rle.toBbox(coded)
    assert own.box == (x, y, x + width, y + height)
    assert Mask.of_runs(mask.shape, own.runs()) == own
    whole = np.pad(mask, ((2, 3), (1, 4)))
    assert Mask.of_crop(mask, (1, 2), whole.shape) == Mask.of(whole)


@given(MASKS, MASKS)
@settings(deadline=None, max_examples=30)
def test_unions_are_those_of_pixels(one, other):
    other = np.resize(other, one.shape)
    assert Mask.union([Mask.of(one), Mask.of(other)]) == Mask.of(one | other)


def test_records_come_back_from_json(hard, tmp_path):
    assert len(hard) == 3
    for record in hard:
        path = tmp_path / "one.json"
        path.write_text(json.dumps(record.describe()))
        assert read_record(path) == record


def test_damaged_records_are_one_line(hard):
    good = json.dumps(hard[2].describe())
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        text = list(good)
        for place in rng.integers(0, len(text), 3):
            text[place] = chr(rng.integers(32, 127))
        try:
            content = json.loads("".join(text))
        except ValueError:
            continue
        try:
            assert isinstance(parse_record(content, "x"), Record)
        except DataError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("counts", ["", "0", "zz", "\x00", "P", "04", "é" * 3, "o" * 50])
def test_run_lengths_that_do_not_fit_are_refused_before_pycocotools_reads_them(counts):
    with pytest.raises(DataError, match="expected run lengths"):
        Mask((2, 3), counts).checked()
