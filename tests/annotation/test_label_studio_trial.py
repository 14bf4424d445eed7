"""What tools/try_label_studio.py reports, without Label Studio: a wrong answer is not said to hold."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ovseg.annotation.formats.brush import encode_brush
from ovseg.apps.serve.labelling import read_labelling

from .conftest import disk

SIZE = (30, 40)


@pytest.fixture(scope="module")
def trial(import_tool):
    return import_tool("label_studio.trial")


def region(mask, label="cat"):
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [label]}
    return {
        "type": "brushlabels",
        "original_height": SIZE[0],
        "original_width": SIZE[1],
        "value": value,
    }


def test_the_interface_of_the_docs_gets_other_labels(trial):
    found = trial.configuration(['a "b" & c', "dog"])
    assert read_labelling(found).labels == ('a "b" & c', "dog")
    root = ElementTree.fromstring(found)
    tags = [tag for tag in ("BrushLabels", "KeyPointLabels", "RectangleLabels") for _ in root.iter(tag)]
    assert len(tags) == 3 and len(list(root.iter("Label"))) == 6


@pytest.mark.parametrize(
    "results, held, said",
    [
        ([region(disk(SIZE, 15, 15, 9))], True, "1 masks, lowest IoU with ovseg's own 1.000"),
        ([region(disk(SIZE, 15, 16, 9))], False, "1 masks, lowest IoU with ovseg's own 0.8"),
        ([region(disk(SIZE, 15, 15, 9), "dog")], False, "1 masks, expected 1"),
        ([region(disk(SIZE, 15, 15, 9))] * 2, False, "2 masks, expected 1"),
        ([region(disk(SIZE, 15, 15, 9)), {"type": "rectanglelabels"}], False, "1 masks, expected 1"),
        ([], False, "0 masks, expected 1"),
    ],
    ids=["equal", "moved", "label", "twice", "other", "none"],
)
def test_only_equal_masks_hold(trial, results, held, said):
    row = trial.compared("asked", results, [("cat", disk(SIZE, 15, 15, 9))])
    assert row.held is held and row.came.startswith(said)
    assert trial.compared("asked", [], []).held


def test_pixels_that_change_are_those_of_the_masks(trial, tmp_path):
    mask = disk(SIZE, 15, 15, 9)
    image = np.full((*SIZE, 3), 90, np.uint8)
    Image.fromarray(image).save(tmp_path / "hidden.png")
    image[mask] += 40
    image[0] += 3  # what a browser's scaling changes is no mask
    Image.fromarray(image).save(tmp_path / "shown.png")
    assert (trial.changed(tmp_path / "shown.png", tmp_path / "hidden.png") == mask).all()


def test_a_mask_is_cut_as_the_page_cuts_its_image(trial):
    mask = np.zeros(SIZE, bool)
    mask[10:20, 30:] = True
    image = {"x": 4.0, "y": 5.0, "width": 80.0, "height": 60.0}
    drawn = {"x": 6.0, "y": 6.0, "width": 76.0, "height": 58.0}
    found = trial.visible(mask, image, drawn)
    assert found.shape == (58, 76) and found.sum() == 20 * 18
    assert found[19:39, 58:].all()
