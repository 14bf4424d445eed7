"""What a TextMasks is and what it becomes: boxes, areas, COCO, supervision, files, pictures of a notebook."""

from __future__ import annotations

import dataclasses
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovseg.errors import MissingPackageError, UsageError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.masks import Candidates, TextMasks
from ovseg.results.base import PointPrompts


def no_masks(text, size, presence, maps, reason):
    return TextMasks(text, np.zeros((0, *size), bool), np.zeros(0, np.float32), presence, maps, (), reason)


@pytest.fixture
def found() -> TextMasks:
    """A rectangle with a hole and a single pixel, in 20 x 30."""
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 2:12, 5:25] = True
    masks[0, 5:7, 8:10] = False
    masks[1, 19, 29] = True
    prompts = PointPrompts(np.array([[6, 3], [1, 1]], np.float32), np.array([1, 0], np.uint8))
    ones = np.ones(3, np.float32)
    taken = Candidates(prompts, (5.0, 2.0, 25.0, 12.0), np.zeros((3, 4, 4), np.float32), ones, ones / 2, 1)
    return TextMasks(
        "cat+dog", masks, np.array([0.9, 0.4], np.float32), {"cat": 0.8, "dog": 0.6},
        np.zeros((2, 3, 4), np.float32), (taken, taken),
    )  # fmt: skip


def test_length_iteration_names_boxes_and_areas(found):
    assert len(found) == 2 and [mask.sum() for mask in found] == [196, 1]
    assert "cat" in found and "cow" not in found and 5 not in found and np.zeros(2) not in found
    assert found.areas.tolist() == [196, 1] and found.areas.dtype == np.int64
    assert found.boxes.tolist() == [[5, 2, 25, 12], [29, 19, 30, 20]]
    empty = no_masks("cow", (20, 30), {"cow": 0.1}, np.zeros((1, 2, 2), np.float32), "not in this picture")
    assert len(empty) == 0 and list(empty) == [] and empty.boxes.shape == (0, 4) and empty.areas.shape == (0,)


def test_arrays_cannot_be_written_to_and_equal_values_are_equal(found):
    arrays = [
        found.masks,
        found.scores,
        found.maps,
        *(getattr(found.candidates[0], n) for n in ("logits", "scores", "agreement")),
    ]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    copy = dataclasses.replace(found, masks=found.masks.copy(), maps=found.maps.copy())
    assert copy == found
    for change in (
        {"text": "x"},
        {"masks": ~found.masks},
        {"scores": found.scores * 2},
        {"reason": "x"},
        {"presence": {}},
    ):
        assert dataclasses.replace(found, **change) != found
    other = dataclasses.replace(found.candidates[0], chosen=0)
    assert dataclasses.replace(found, candidates=(other, other)) != found
    assert found != 5 and found.candidates[0] != 5


def test_coco_reads_back_what_was_written(found):
    annotations = json.loads(json.dumps(found.to_coco(image_id=7, category_id=3)))
    assert [one["id"] for one in annotations] == [1, 2]
    for one, mask in zip(annotations, found, strict=True):
        assert (one["image_id"], one["category_id"], one["iscrowd"]) == (7, 3, 0)
        assert isinstance(one["segmentation"]["counts"], str)
        assert (rle.decode(one["segmentation"]) == mask).all() and one["area"] == mask.sum()
    assert annotations[0]["bbox"] == [5, 2, 20, 10] and annotations[1]["score"] == pytest.approx(0.4)
    for wrong in (None, "1", -1, 2.5, True):
        with pytest.raises(UsageError, match="expected image_id"):
            found.to_coco(wrong)
        with pytest.raises(UsageError, match="expected category_id"):
            found.to_coco(1, wrong)


def test_detections_of_supervision(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingPackageError, match="pip install supervision"):
        found.to_detections()
    module = types.SimpleNamespace(Detections=lambda **values: types.SimpleNamespace(**values))
    monkeypatch.setitem(sys.modules, "supervision", module)
    made = found.to_detections(class_id=4)
    assert made.xyxy.tolist() == found.boxes.tolist() and (made.mask == found.masks).all()
    assert made.class_id.tolist() == [4, 4] and made.data["class_name"].tolist() == ["cat+dog"] * 2
    assert (made.confidence == found.scores).all()
    with pytest.raises(UsageError, match="expected class_id"):
        found.to_detections("cat")


def test_a_result_saves_itself(found, tmp_path):
    found.save(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "masks.json").read_text())
    assert [mask["file"] for mask in written["masks"]] == ["mask_1.png", "mask_2.png"]
    for one, mask in zip(written["masks"], found, strict=True):
        assert ((np.asarray(Image.open(tmp_path / "out" / one["file"])) == 255) == mask).all()
    assert written["text"] == "cat+dog" and written["presence"] == {"cat": 0.8, "dog": 0.6}
    assert written["masks"][0]["area"] == 196 and written["masks"][0]["box"] == [5, 2, 25, 12]
    found.save(str(tmp_path / "all.npz"))
    with np.load(tmp_path / "all.npz") as arrays:
        assert (arrays["masks"] == found.masks).all() and arrays["names"].tolist() == ["cat", "dog"]
    (tmp_path / "out" / "mask_9.png").write_text("somebody else's")
    no_masks("dog", (24, 32), {}, np.zeros((0, 1, 1), np.float32), "none").save(tmp_path / "out")
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["mask_9.png", "masks.json"]
    (tmp_path / "file").write_text("")
    for wrong in (None, 5, b"x", "", tmp_path / "file", tmp_path / "out.png", "a\nb.png"):
        with pytest.raises(UsageError, match="expected|unknown|needs") as caught:
            found.save(wrong)
        assert "\n" not in str(caught.value)


def test_a_notebook_shows_masks_and_reason(found):
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "cat+dog: 2 masks" in found._repr_html_() and "data:image/png;base64," in found._repr_html_()
    large = no_masks("<b>", (5000, 3000), {}, np.zeros((0, 1, 1), np.float32), "nothing & nobody")
    assert (
        "&lt;b&gt;: 0 masks (nothing &amp; nobody)" in large._repr_html_() and len(large._repr_html_()) < 9000
    )


def test_what_predict_gives_compares_and_converts(always):
    scene = make_scene(503)
    first, again = (always.predict(scene.image, scene.present[0]) for _ in range(2))
    assert first == again and len(first.to_coco()) == len(first) == len(first.boxes)
    assert json.loads(json.dumps(first.describe()))["masks"][0]["area"] == first.areas[0]
