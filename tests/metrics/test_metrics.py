"""Scores against hand-made cases and loops."""

from __future__ import annotations

import numpy as np
import pytest

from ovseg.errors import DataError
from ovseg.metrics import (
    MeanPerClass,
    PerLabelScore,
    SegmentationScore,
    confusion,
    iou_per_class,
    mask_iou,
    point_accuracy,
    score_contrast,
)


def test_iou_by_sets_with_an_absent_class_and_void():
    rng = np.random.default_rng(0)
    truth, labels = rng.choice([0, 1, 3, 255], (20, 20)), rng.choice([0, 1, 3], (20, 20))
    labels[0, :5] = 255  # void predictions are misses
    got = iou_per_class(confusion(labels, truth, 4))
    valid = truth != 255
    for k in (0, 1, 3):
        a, b = (labels == k) & valid, truth == k
        assert got[k] == pytest.approx((a & b).sum() / (a | b).sum())
    assert np.isnan(got[2])


def test_scores_add_up_over_images():
    rng = np.random.default_rng(1)
    truth, labels = rng.integers(0, 3, (2, 10, 10)), rng.integers(0, 3, (2, 10, 10))
    apart, together = SegmentationScore(3), SegmentationScore(3)
    for t, p in zip(truth, labels):
        apart.update(p, t)
    together.update(labels.reshape(20, 10), truth.reshape(20, 10))
    assert apart.compute() == together.compute()
    with pytest.raises(DataError, match="expected labels below 3 or 255, the truth holds 3"):
        apart.update(labels[0], truth[0] + 1)


def test_contrast_of_a_perfect_and_an_opposite_map():
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    assert score_contrast(mask.astype(float), mask) == 1
    assert score_contrast(1.0 - mask, mask) == -1
    assert score_contrast(np.full((4, 4), 0.3), mask) == pytest.approx(0)


def test_iou_per_label_is_the_best_common_threshold():
    rng = np.random.default_rng(2)
    score = PerLabelScore()
    samples = [("a", rng.random((8, 8)), rng.random((8, 8)) > 0.6) for _ in range(4)]
    samples += [("b", rng.random((8, 8)), rng.random((8, 8)) > 0.5) for _ in range(2)]
    for name, values, mask in samples:
        score.update(name, values, mask, np.ones((8, 8), bool))
    best = 0.0
    for threshold in score.thresholds:
        per = {"a": [], "b": []}
        for name, values, mask in samples:
            found = values >= threshold
            per[name].append((found & mask).sum() / (found | mask).sum())
        best = max(best, np.mean([np.mean(p) for p in per.values()]))
    assert score.mean_iou() == pytest.approx(best)
    score.update("c", np.ones((2, 2)), np.ones((2, 2), bool), np.ones((2, 2), bool))  # no contrast to measure
    assert "c" not in score.contrast.counts and score.left_out == 1


def test_point_accuracy_counts_both_sides_and_leaves_void_out():
    mask = np.zeros((10, 10), bool)
    mask[:5] = True
    valid = np.ones((10, 10), bool)
    valid[:, 9] = False
    xy = np.array([[1.7, 1.2], [3, 8], [2, 9], [4, 0], [9.5, 9]])
    labels = np.array([1, 1, 0, 0, 1])
    assert point_accuracy(xy, labels, mask, valid) == 0.5  # right: first and third of four
    assert np.isnan(point_accuracy(xy[4:], labels[4:], mask, valid))


def test_means_go_over_samples_and_then_over_classes():
    score = MeanPerClass()
    assert np.isnan(score.compute())
    for name, value in (("a", 0.0), ("a", 1.0), ("a", float("nan")), ("b", 1.0)):
        score.update(name, value)
    assert score.compute() == 0.75


def test_iou_of_masks():
    one, two = np.eye(4, dtype=bool), np.ones((4, 4), bool)
    assert mask_iou(one, two) == 0.25 and mask_iou(one, two, one) == 1.0
    assert mask_iou(one, ~two) == 0.0 and mask_iou(~two, ~two) == 0.0
