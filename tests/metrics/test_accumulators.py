"""Accumulators merge what several processes counted, and degenerate inputs have a defined score."""

from __future__ import annotations

import numpy as np
import pytest

from ovseg.errors import DataError, UsageError
from ovseg.metrics import (
    MeanPerClass,
    PerLabelScore,
    SegmentationScore,
    confusion,
    mean_iou,
    point_accuracy,
    score_contrast,
)

RNG = np.random.default_rng(0)
EVERYWHERE = np.ones((6, 6), bool)


def samples(kind):
    if kind is SegmentationScore:
        return [(RNG.integers(0, 3, (6, 6)), RNG.choice([0, 1, 2, 255], (6, 6))) for _ in range(4)]
    if kind is PerLabelScore:
        masks = [RNG.random((6, 6)) > 0.5 for _ in range(4)]
        return [("ab"[k % 2], RNG.random((6, 6)), mask, EVERYWHERE) for k, mask in enumerate(masks)]
    return [("ab"[k % 2], float(k)) for k in range(4)]


@pytest.mark.parametrize("kind", [SegmentationScore, PerLabelScore, MeanPerClass])
def test_merged_scores_are_those_of_one_process(kind):
    make = (lambda: kind(3)) if kind is SegmentationScore else kind
    alone, first, second = make(), make(), make()
    for index, sample in enumerate(samples(kind)):
        alone.update(*sample)
        (first, second)[index % 2].update(*sample)
    first.merge(second)
    assert first.compute() == pytest.approx(alone.compute())


@pytest.mark.parametrize(
    "one, other",
    [(SegmentationScore(3), SegmentationScore(4)), (PerLabelScore(), PerLabelScore(np.array([0.5])))],
)
def test_scores_of_other_kinds_do_not_merge(one, other):
    with pytest.raises(UsageError, match="expected a score"):
        one.merge(other)


@pytest.mark.filterwarnings("error")
def test_nothing_to_score_is_nan_without_a_warning():
    assert np.isnan(SegmentationScore(3).compute()) and np.isnan(mean_iou(np.zeros((3, 4), np.int64)))
    assert np.isnan(list(PerLabelScore().compute().values())).all() and np.isnan(MeanPerClass().compute())
    full = np.ones((2, 2), bool)
    assert np.isnan(score_contrast(np.ones((2, 2)), full)) and np.isnan(
        score_contrast(np.ones((2, 2)), ~full)
    )
    assert np.isnan(point_accuracy(np.zeros((0, 2)), np.zeros(0, int), full, full))
    assert confusion(np.zeros((0, 0), int), np.zeros((0, 0), int), 2).sum() == 0


@pytest.mark.parametrize("classes, void", [(255, 255), (256, 65535), (300, 65535)])
def test_class_255_counts_where_there_is_one(classes, void):
    truth = np.array([0, classes - 1, void])
    matrix = confusion(np.array([0, classes - 1, 0]), truth, classes)
    assert matrix.sum() == 2 and matrix[classes - 1, classes - 1] == 1


def test_predictions_that_are_no_class_are_misses():
    truth = np.zeros(5, int)
    matrix = confusion(np.array([0, 255, 65535, -1, 2]), truth, 2)
    assert matrix.tolist() == [[1, 0, 4], [0, 0, 0]]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: confusion(np.zeros(2, int), np.zeros(3, int), 2), UsageError, "of one shape"),
        (lambda: confusion(np.zeros(2, int), np.zeros(2, int), 300, void=255), UsageError, "outside the 300"),
        (lambda: confusion(np.zeros(1, int), np.array([-1]), 2), DataError, "the truth holds -1"),
        (lambda: confusion(np.zeros(1, int), np.array([1027]), 4), DataError, "the truth holds 1027"),
        (
            lambda: point_accuracy(np.array([[9, 0]]), np.array([1]), EVERYWHERE, EVERYWHERE),
            UsageError,
            r"expected points within 6 x 6 pixels, got \(9, 0\)",
        ),
    ],
)
def test_wrong_inputs_are_one_line(call, error, message):
    with pytest.raises(error, match=message):
        call()
