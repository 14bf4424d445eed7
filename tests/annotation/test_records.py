"""Run lengths are pycocotools' own; records come back from JSON; damaged ones are one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as rle

from ovseg.annotation.records import Record, parse_record, read_record
from ovseg.errors import DataError
from ovseg.results.coco import Mask


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (31, 1), (3, 5), (40, 61)])
@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.95, 1])
def test_run_lengths_are_those_of_pycocotools(size, share):
    rng = np.random.default_rng(7)
    for _ in range(5):
        mask = rng.random(size) < share
        own = Mask.of(mask)
        wanted = rle.encode(np.asfortranarray(mask, np.uint8))
        assert own.counts == wanted["counts"].decode()
        assert (own.array() == mask).all() and own.area == mask.sum() == own.checked().area
        x, y, width, height = rle.toBbox(wanted)
        assert own.box == (x, y, x + width, y + height)
        assert Mask.of_runs(size, own.runs()) == own


def test_records_come_back_from_json(hard, tmp_path):
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
