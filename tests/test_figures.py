"""Pictures as arrays, and the files they become."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import OvsegError, UsageError
from ovseg.files import write as files
from ovseg.results import figures


def test_colours_differ():
    colours = figures.palette(60)
    assert colours.shape == (60, 3) and len(np.unique(colours, axis=0)) == 60
    assert figures.palette(0).shape == (0, 3)


def test_labels_become_their_colours_and_void_is_black():
    colours = figures.palette(2)
    shown = figures.colour_labels(np.array([[0, 1, 255]], np.uint8), colours)
    assert shown[0].tolist() == [*colours.tolist(), [0, 0, 0]]


def test_heat_is_blue_at_zero_and_red_at_one():
    heat = figures.overlay_heat(np.zeros((1, 2, 3), np.uint8), np.array([[0.0, 1.0]]), opacity=1.0)
    assert heat[0, 0, 2] > heat[0, 0, 0] and heat[0, 1, 0] > heat[0, 1, 2]


@pytest.mark.parametrize("shape", [(1, 1), (40, 300), (300, 8)], ids=str)
def test_pictures_of_any_shape(shape):
    image = np.zeros((*shape, 3), np.uint8)
    labels = np.zeros(shape, np.uint8)
    entries = [("a name that is rather long for so small a picture", (9, 9, 9)), ("дерево", (1, 2, 3))]
    picture = figures.with_legend(figures.overlay_labels(image, labels, figures.palette(1)), entries)
    assert picture.shape[1] >= 200 and picture.shape[0] > shape[0]
    sheet = figures.grid([[picture, figures.titled(image, "a long title")], [image]])
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert figures.fit(image, 50).shape[0] == 50


def test_a_label_png_keeps_its_indices(tmp_path):
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    files.write_labels(tmp_path / "a.png", labels, figures.palette(3))
    with Image.open(tmp_path / "a.png") as read:
        assert read.mode == "P" and np.array_equal(np.asarray(read), labels)
        assert np.asarray(read.convert("RGB"))[0, 1].tolist() == figures.palette(3)[1].tolist()
    many = np.array([[0, 299, 65535]], np.uint16)
    files.write_labels(tmp_path / "b.png", many, figures.palette(300))
    with Image.open(tmp_path / "b.png") as read:
        assert np.asarray(read).tolist() == many.tolist()


def test_files_are_whole_or_not_there(tmp_path):
    files.write_json(tmp_path / "a.json", {"name": "дерево"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": "дерево"}
    (tmp_path / "taken").mkdir()
    with pytest.raises(OvsegError, match="expected to write"):
        files.write_json(tmp_path / "taken", {})
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(UsageError, match="expected a folder"):
        files.make_folder(tmp_path / "a.json" / "below")


def test_charts_keep_their_axes_however_many_names_there_are():
    few, many = (
        {f"a rather long name, {k}": ([0.0, 1.0], [0.0, float(k)]) for k in range(count)} for count in (2, 9)
    )
    charts = [figures.line_chart(one, "title", ("x", "y"), level={"level": 0.5}) for one in (few, many)]
    heights = [{name: y for name, (_, y) in one.items()} for one in (few, many)]
    bars = [figures.bar_chart(one, ["a", "b"], "title") for one in heights]
    for small, large in (charts, bars):
        assert small.shape[2] == large.shape[2] == 3 and small.dtype == np.uint8
        for picture in (small, large):  # the left axis is as wide as the picture is, but for its labels
            dark = (picture < 60).all(axis=2)
            assert dark.sum(axis=1).max() > 0.75 * picture.shape[1]
        assert large.shape[0] > small.shape[0]
