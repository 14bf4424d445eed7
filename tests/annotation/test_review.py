"""A run against the truth: hand-made pixels, absent classes, void, names, thresholds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ovseg.annotation.formats import Annotations
from ovseg.annotation.records import Record, Region
from ovseg.annotation.review import best_threshold, review
from ovseg.annotation.worst import confusion_table, draw_worst
from ovseg.errors import DataError
from ovseg.results.coco import Mask


def record(name, labels, names, presence=None, void=None):
    """A record of a label map given as rows of digits; 9 is nothing."""
    values = np.array([[int(digit) for digit in row] for row in labels])
    regions = tuple(Region(n, Mask.of(values == k)) for k, n in enumerate(names) if (values == k).any())
    unknown = None if void is None else Mask.of(values == void)
    return Record(name, values.shape, regions, presence=presence, void=unknown)


def annotations(names, *records):
    return Annotations(tuple(names), lambda: iter(records))


def test_pixels_and_images_are_counted():
    names = ("cat", "dog", "cow")
    run = annotations(
        names,
        record("a.jpg", ["0011", "0011"], names, {"cat": 0.9, "dog": 0.8}),
        record("b.jpg", ["0099"], names, {"cat": 0.6, "dog": 0.1}),
        record("c.jpg", ["9999"], names, {"cat": 0.2}),
    )
    truth = annotations(
        ("background", "Cat", "dog", "bird"),
        record("sub/a.png", ["8801", "0001"], ("Cat", "dog"), void=8),
        record("sub/b.png", ["9999"], ("Cat", "dog")),
        record("sub/other.png", ["0000"], ("Cat",)),
    )
    found = review(run, truth)
    cat, dog = found.classes["cat"], found.classes["dog"]
    assert list(found.classes) == ["cat", "dog"] and found.other_classes == ("bird",)
    assert (found.images, found.without_truth, found.missing) == (2, 1, ["sub/other.png"])
    # a: cat is at two pixels that count in the run (2 are void), at four in the truth; b: two pixels wrong
    assert (cat.both, cat.either) == (2, 2 + 4 - 2 + 2) and cat.iou == pytest.approx(2 / 6)
    assert (dog.both, dog.either) == (2, 4)
    assert (cat.right, cat.wrong, cat.missed) == (1, 1, 0) and (dog.right, dog.wrong, dog.missed) == (1, 0, 0)
    assert cat.precision == 0.5 and cat.recall == 1 and found.mean_iou == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert cat.threshold == 0.75 and dog.threshold == pytest.approx(0.45)
    assert found.describe()["thresholds"] == {"cat": 0.75, "dog": 0.45}
    assert "cat" in found.lines()[1] and found.lines()[-1].split() == ["mean", "41.67"]


def test_a_class_that_nobody_has_is_no_number_and_no_part_of_the_mean():
    one = annotations(("cat", "dog"), record("a.jpg", ["00"], ("cat",)))
    found = review(one, one)
    assert math.isnan(found.classes["dog"].iou) and found.mean_iou == 1
    assert found.classes["dog"].threshold is None and "-" in found.lines()[2]


def test_images_are_matched_by_name_and_only_where_that_is_unique():
    run = annotations(("cat",), record("x/a.jpg", ["0"], ("cat",)), record("y/a.jpg", ["9"], ("cat",)))
    truth = annotations(("cat",), record("x/a.png", ["0"], ("cat",)), record("z/a.png", ["0"], ("cat",)))
    found = review(run, truth)
    assert (found.images, found.without_truth, found.missing) == (1, 1, ["z/a.png"])


@pytest.mark.parametrize(
    ("shares", "wanted"),
    [
        ([], None),
        ([(0.9, True)], None),
        ([(0.9, False)], None),
        ([(0.2, True), (0.1, False)], 0.15),
        ([(0.9, True), (0.8, True), (0.1, True), (0.5, False)], 0.0),  # all are found best by no threshold
        ([(0.9, True), (0.7, False), (0.6, False), (0.5, False)], 0.8),
        ([(0.5, True), (0.5, False)], 0.0),
    ],
)
def test_thresholds_have_the_highest_f1(shares, wanted):
    assert best_threshold(shares) == wanted
    if wanted is None:
        return

    def f1(cut):
        right = sum(there for share, there in shares if share >= cut)
        return 2 * right / (sum(share >= cut for share, _ in shares) + sum(there for _, there in shares))

    assert f1(wanted) == max(f1(cut / 100) for cut in range(101))


def test_two_sizes_of_one_image_are_refused():
    one = annotations(("cat",), record("a.jpg", ["00"], ("cat",)))
    other = annotations(("cat",), record("a.jpg", ["0"], ("cat",)))
    with pytest.raises(DataError, match=r"expected a\.jpg in one size"):
        review(one, other)


def test_confusion_counts_the_uppermost_region_and_no_void():
    names = ("cat", "dog")
    over = Region("dog", Mask.of(np.array([[False, True, True, False, False]])))
    one = record("a.jpg", ["00099"], names)
    run = annotations(names, Record(one.name, one.size, (*one.regions, over)), record("b.jpg", ["00"], names))
    truth = annotations(names, record("a.jpg", ["00198"], names, void=8), record("b.jpg", ["11"], names))
    found = review(run, truth)
    # truth cat, dog and nothing by rows; the fifth pixel of a is void; of two regions of the run the dog is on top
    assert found.confusion.tolist() == [[1, 1, 0], [2, 1, 0], [0, 0, 1]]
    assert found.confused == [(2 / 3, "dog", "cat"), (1 / 2, "cat", "dog")]
    assert confusion_table(found).splitlines()[:2] == ["truth / run,cat,dog,(none)", "cat,1,1,0"]
    assert sorted(found.ious) == [(0.0, "b.jpg"), (pytest.approx((2 / 3 + 1 / 2) / 2), "a.jpg")]
    assert found.describe()["worst"][0] == {"image": "b.jpg", "mean IoU": 0.0}


def test_the_worst_images_are_drawn_with_truth_and_run(tmp_path):
    names = ("cat", "dog")
    Image.new("RGB", (80, 60), (0, 90, 200)).save(tmp_path / "a.png")
    rows = ["0" * 40 + "9" * 40] * 60
    good = record("good.png", rows, names)
    bad = replace(record("sub/bad.png", ["1" * 80] * 60, names), image=str(tmp_path / "a.png"))
    lost = record("lost.png", rows, names)
    run = annotations(names, good, bad, lost)
    truth = annotations(
        names, good, record("sub/bad.png", rows, names), record("lost.png", ["9" * 80] * 60, names)
    )
    found = review(run, truth)
    paths = draw_worst(run, truth, found, tmp_path / "worst", 2)
    assert [path.name for path in paths] == ["01_lost.png", "02_sub_bad.png"]
    grey, blue = (np.asarray(Image.open(path)) for path in paths)
    assert (
        blue.shape[1] > 2 * 360 and (blue == (0, 90, 200)).all(axis=-1).any()
    )  # half of the truth is no class
    assert (grey == 128).all(axis=-1).any()
    assert draw_worst(run, truth, found, tmp_path / "none", 0) == [] and not (tmp_path / "none").exists()
