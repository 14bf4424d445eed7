"""Results as read-only mappings: names, arrays, boxes, areas, files, other libraries' forms, pages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovseg.errors import UnknownNameError, UsageError
from ovseg.results import MAX_VALUES, LabelMap, Recognition, SimilarityMap, void_value


@pytest.fixture
def labels():
    array = np.zeros((6, 8), np.uint8)
    array[1:3, 2:5], array[5, 7] = 1, 255
    return LabelMap(array, ("sky", "tree", "sea"))


@pytest.fixture
def maps():
    grid = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    return SimilarityMap(grid, ("sky", "tree"), (30, 41))


@pytest.fixture
def scores():
    return Recognition(np.array([0.2, 0.9, -1.0], np.float32), ("cat", "dog", "cow"))


def test_they_are_mappings_by_name(labels, maps, scores):
    for found in (labels, maps, scores):
        assert len(found) == len(found.names) == len(list(found))
        assert found.names[0] in found and "unicorn" not in found
        with pytest.raises(UnknownNameError, match=r"expected one of '\w+', .*, got 'unicorn'") as caught:
            found["unicorn"]
        assert isinstance(caught.value, KeyError) and str(caught.value)[-1] == "'"


def test_arrays_cannot_be_written_to(labels, maps, scores):
    for array in (labels.array, maps.grid, scores.scores, np.asarray(scores)):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_equality_compares_names_and_arrays(labels, maps, scores):
    assert labels == LabelMap(labels.array.copy(), labels.names)
    assert labels != LabelMap(labels.array.copy(), ("sky", "tree", "lake"))
    assert maps == SimilarityMap(maps.grid.copy(), maps.names, maps.size)
    assert maps != SimilarityMap(maps.grid + 1, maps.names, maps.size)
    assert scores == Recognition(scores.scores.copy(), scores.names) and scores != labels
    with pytest.raises(TypeError, match="unhashable"):
        hash(labels)


def test_areas_boxes_and_shares_by_hand(labels):
    assert labels.areas == {"sky": 41, "tree": 6}
    assert labels.boxes == {"sky": (0, 0, 8, 6), "tree": (2, 1, 5, 3)}
    assert list(labels.shares) == ["sky", "tree"] and labels.shares["tree"] == 6 / 48
    assert labels["tree"].sum() == 6 and not labels["sea"].any()


def test_three_hundred_classes_need_sixteen_bits():
    names = tuple(map(str, range(300)))
    found = LabelMap(np.array([[255, 256, 299, 65535]], np.uint16), names)
    assert found.areas == {"255": 1, "256": 1, "299": 1} and found.void == void_value(300) == 65535
    with pytest.raises(ValueError, match="expected labels below 2 or 255, got 7"):
        LabelMap(np.array([[7]], np.uint8), ("a", "b"))


BY_HAND = {
    "labels that are a list": (lambda: LabelMap([[0]], ("a",)), "expected array .* as an array, got list"),
    "labels of another type": (
        lambda: LabelMap(np.zeros((2, 2), int), ("a",)),
        "expected .* uint8 or uint16",
    ),
    "labels with an axis more": (lambda: LabelMap(np.zeros((2, 2, 1), np.uint8), ("a",)), r"\(2, 2, 1\)"),
    "no labels": (lambda: LabelMap(np.zeros((0, 2), np.uint8), ("a",)), r"got \(0, 2\)"),
    "names that are a text": (
        lambda: LabelMap(np.zeros((2, 2), np.uint8), "ab"),
        "expected names .* got str",
    ),
    "names that are numbers": (
        lambda: Recognition(np.zeros(2), (1, 2)),
        "expected names as a tuple of texts",
    ),
    "probabilities of no array": (
        lambda: LabelMap(np.zeros((2, 2), np.uint8), ("a",), 5),
        "expected probabilities",
    ),
    "probabilities of another size": (
        lambda: LabelMap(np.zeros((2, 2), np.uint8), ("a",), np.zeros((1, 2, 3))),
        "expected probabilities",
    ),
    "values that are texts": (
        lambda: SimilarityMap(np.zeros((1, 2, 2), "U1"), ("a",), (4, 4)),
        "expected values",
    ),
    "no values": (lambda: SimilarityMap(np.zeros((1, 0, 2)), ("a",), (4, 4)), r"expected \(1, h, w\) values"),
    "one side for a size": (lambda: SimilarityMap(np.zeros((1, 2, 2)), ("a",), 4), "expected size as"),
    "a size of 0": (lambda: SimilarityMap(np.zeros((1, 2, 2)), ("a",), (0, 4)), "expected size in 1"),
    "scores that are texts": (lambda: Recognition(np.array(["a"]), ("a",)), "expected scores"),
    "a score too many": (lambda: Recognition(np.zeros(2), ("a",)), r"expected \(1,\) scores"),
}


@pytest.mark.parametrize("make, message", BY_HAND.values(), ids=BY_HAND)
def test_results_made_by_hand_check_themselves(make, message):
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_names_may_be_a_list_and_what_is_no_text_is_no_name():
    found = Recognition(np.zeros(2), ["cat", "dog"])
    assert found.names == ("cat", "dog")
    for other in (np.zeros(2), np.array(["cat", "dog"]), [], {}, None, 5):
        assert other not in found
        with pytest.raises(UnknownNameError, match="expected one of 'cat', 'dog', got"):
            found[other]
    with pytest.raises(UnknownNameError, match="got 'nnn") as caught:
        found["n" * 5000]
    assert len(str(caught.value)) < 200


def test_maps_are_those_of_torch_and_a_constant_map_is_zero(maps):
    import torch

    from ovseg.maps.similarity import min_max, resize

    wanted = min_max(resize(torch.from_numpy(maps.grid.copy())[None], maps.size))[0].numpy()
    np.testing.assert_allclose(maps.array, wanted, atol=1e-5)
    np.testing.assert_array_equal(maps["tree"], maps.array[1])
    small = min_max(resize(torch.from_numpy(maps.grid.copy())[None], (2, 3)))[0].numpy()
    np.testing.assert_allclose(maps.at((2, 3)), small, atol=1e-5)
    flat = SimilarityMap(np.full((1, 2, 2), 0.3, np.float32), ("a",), (5, 5))
    assert not flat["a"].any()


def test_too_large_arrays_are_refused_before_they_are_made():
    names = tuple(map(str, range(150)))
    found = SimilarityMap(np.zeros((150, 2, 2), np.float32), names, (3000, 4000))
    assert MAX_VALUES < 150 * 3000 * 4000
    with pytest.raises(UsageError, match=r"ask for single maps, result\[name\]"):
        _ = found.array
    assert found.at((30, 40)).shape == (150, 30, 40) and found.at(8).shape == (150, 8, 8)


@pytest.mark.parametrize("size", [(0, 5), (-1, 4), "x", None, (5, 5, 5), 2.5, 10**9, True])
def test_sizes_that_are_none(maps, size):
    with pytest.raises(UsageError, match="expected size|expected a size"):
        maps.at(size)


@pytest.mark.parametrize("count", ["x", -1, 0, 1.5, True])
def test_counts_that_are_none(scores, count):
    with pytest.raises(UsageError, match="expected count"):
        scores.best(count)


@pytest.mark.parametrize("path", [None, 5, b"a.png", ""])
def test_paths_that_are_none(labels, maps, scores, path):
    for found in (labels, maps, scores):
        with pytest.raises(UsageError, match="expected a file name"):
            found.save(path)


def test_best_names_first(scores):
    assert [name for name, _ in scores.best()] == ["dog", "cat", "cow"]
    assert scores.best(1) == [("dog", pytest.approx(0.9))] and scores["cow"] == -1.0


def test_files_hold_what_was_found(tmp_path, labels, maps, scores):
    labels.save(tmp_path / "l.png")
    with Image.open(tmp_path / "l.png") as picture:
        assert np.array_equal(np.asarray(picture), labels.array)
    labels.save(tmp_path / "l.npz")
    assert np.load(tmp_path / "l.npz")["names"].tolist() == list(labels.names)
    maps.save(str(tmp_path / "m.npz"))
    read = np.load(tmp_path / "m.npz")
    again = SimilarityMap(read["grid_values"], tuple(read["names"].tolist()), tuple(read["size"].tolist()))
    assert again == maps
    maps.save(tmp_path / "m.PNG")
    with Image.open(tmp_path / "m.PNG") as picture:
        assert picture.format == "PNG"
    scores.save(tmp_path / "s.json")
    assert list(json.loads((tmp_path / "s.json").read_text())) == ["dog", "cat", "cow"]
    for found in (labels, maps, scores):
        with pytest.raises(UsageError, match=r"file name ending in .*, got .*x\.gif$"):
            found.save(tmp_path / "x.gif")


def test_coco_annotations_are_read_back_by_pycocotools(labels):
    annotations = labels.to_coco(image_id=7)
    assert [one["category_id"] for one in annotations] == [1, 2] and annotations[0]["image_id"] == 7
    json.dumps(annotations)  # no numpy scalars, no bytes
    for one, name in zip(annotations, labels.areas):
        assert np.array_equal(rle.decode(one["segmentation"]).astype(bool), labels[name])
        assert one["area"] == labels.areas[name]
    assert annotations[1]["bbox"] == [2.0, 1.0, 3.0, 2.0]


def test_detections_of_supervision(labels):
    supervision = pytest.importorskip("supervision")
    found = labels.to_detections()
    assert isinstance(found, supervision.Detections) and len(found) == 2
    assert found.area.tolist() == [41, 6] and found.data["class_name"].tolist() == ["sky", "tree"]
    empty = LabelMap(np.full((2, 2), 255, np.uint8), ("a",)).to_detections()
    assert len(empty) == 0


def test_they_show_themselves_in_a_notebook(labels, maps, scores):
    for found in (labels, maps):
        assert found._repr_html_().startswith('<img alt="') and "base64," in found._repr_html_()
    assert "<td>dog</td>" in scores._repr_html_()
    assert "&lt;b&gt;" in Recognition(np.ones(1, np.float32), ("<b>",))._repr_html_()
