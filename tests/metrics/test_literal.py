"""Each metric against a literal loop over pixels or images, and another library where there is one."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import binary_jaccard_index, multilabel_average_precision
from torchmetrics.functional.regression import spearman_corrcoef

from ovseg.errors import UsageError
from ovseg.metrics import (
    THRESHOLDS_PER,
    ForegroundScore,
    MeanPerClass,
    MultiLabelScore,
    PerLabelScore,
    affinity,
    area_under,
    average_precision,
    foreground_share,
    iou_at_thresholds,
    perturbation_curve,
    pointing_game,
    rank_correlation,
    redundancy,
    score_contrast,
    score_map,
)
from ovseg.metrics.faithful import BASES, base_image
from ovseg.metrics.inside import cell_shares
from ovseg.metrics.multilabel import NOT_COUNTED


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# ------------------------------------------------------------------------------------------- maps


def literal_contrast(values, mask, valid):
    inside, outside = [], []
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if valid[y, x]:
                (inside if mask[y, x] else outside).append(values[y, x])
    return sum(inside) / len(inside) - sum(outside) / len(outside)


def literal_iou(values, mask, valid, threshold):
    both = either = 0
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if valid[y, x]:
                both += values[y, x] >= threshold and mask[y, x]
                either += values[y, x] >= threshold or mask[y, x]
    return both / either


@pytest.fixture
def maps(rng):
    """Two classes, seven samples of several sizes; the values are coarse, so that some equal a threshold."""
    found = []
    for k in range(7):
        shape = (6 + k, 9 - k % 3)
        values = np.round(rng.random(shape), 1)
        found.append(("ab"[k % 3 == 0], values, rng.random(shape) > 0.6, rng.random(shape) > 0.2))
    return found


def test_contrast_and_iou_of_a_map(maps):
    thresholds = np.array([0.0, 0.3, 0.55, 0.9, 1.0])
    for _, values, mask, valid in maps:
        sample = score_map(values, mask, valid, thresholds)
        assert sample.contrast == pytest.approx(literal_contrast(values, mask, valid), abs=1e-12)
        wanted = [literal_iou(values, mask, valid, one) for one in thresholds]
        assert np.allclose(sample.overlap, wanted, atol=1e-12)
        other = [
            binary_jaccard_index(torch.tensor(values >= one)[valid], torch.tensor(mask)[valid]).item()
            for one in thresholds
        ]
        assert np.allclose(sample.overlap, other, atol=1e-6)


@pytest.mark.parametrize("per", THRESHOLDS_PER)
def test_the_best_threshold_of_a_set_a_class_or_an_image(maps, per):
    score = PerLabelScore(per=per)
    for sample in maps:
        score.update(*sample)
    table = {"a": [], "b": []}  # per class, per sample, per threshold
    for name, values, mask, valid in maps:
        table[name].append([literal_iou(values, mask, valid, one) for one in score.thresholds])
    if per == "dataset":
        choices = [
            np.mean([np.mean([sample[t] for sample in table[name]]) for name in "ab"])
            for t in range(len(score.thresholds))
        ]
        wanted = max(choices)
        assert score.best_threshold() == score.thresholds[int(np.argmax(choices))]
    elif per == "class":
        wanted = np.mean(
            [
                max(np.mean([sample[t] for sample in table[name]]) for t in range(len(score.thresholds)))
                for name in "ab"
            ]
        )
    else:
        wanted = np.mean([np.mean([max(sample) for sample in table[name]]) for name in "ab"])
    assert score.compute()["mIoU"] == pytest.approx(wanted, abs=1e-12)
    assert score.mean_iou("dataset") <= score.mean_iou("class") <= score.mean_iou("image")
    wanted = np.mean([np.mean([literal_contrast(*m[1:]) for m in maps if m[0] == name]) for name in "ab"])
    assert score.compute()["mSC"] == pytest.approx(wanted, abs=1e-12)
    assert score.samples == len(maps)


def test_memory_does_not_grow_with_the_number_of_samples(rng):
    score = PerLabelScore()
    mask = np.eye(4, dtype=bool)
    sizes = []
    for _ in range(200):
        score.update("a", rng.random((4, 4)), mask, np.ones((4, 4), bool))
        sizes.append(sum(total.nbytes for total in score.overlap.values()) + len(score.contrast.sums))
    assert len(set(sizes)) == 1 and score.samples == 200


@pytest.mark.parametrize(
    "mask, found",
    [(np.zeros((3, 3), bool), None), (np.ones((3, 3), bool), None), (np.eye(3, dtype=bool), 0.0)],
    ids=["nothing", "everything", "constant map"],
)
def test_degenerate_maps(mask, found):
    sample = score_map(np.zeros((3, 3)), mask, np.ones((3, 3), bool), np.array([0.5]))
    assert sample is None if found is None else (sample.contrast, sample.overlap.tolist()) == (found, [0.0])


def test_one_pixel_and_no_valid_pixel():
    one = np.ones((1, 1), bool)
    assert score_map(np.ones((1, 1)), one, one, np.array([0.5])) is None
    assert score_map(np.ones((2, 2)), np.eye(2, dtype=bool), np.zeros((2, 2), bool), np.array([0.5])) is None
    assert np.isnan(iou_at_thresholds(np.ones(3), np.zeros(3, bool), np.array([0.1, 0.2]))).all()
    assert np.isnan(score_contrast(np.ones((1, 1)), one))


# -------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize(
    "shape, grid", [((12, 8), (3, 4)), ((7, 5), (3, 2)), ((2, 3), (5, 4)), ((1, 1), (2, 2))]
)
def test_the_share_of_attention_on_the_foreground(rng, shape, grid):
    attention, mask, valid = rng.random(grid), rng.random(shape) > 0.5, rng.random(shape) > 0.3
    valid[0, 0] = True
    step = 60  # each pixel as 60 x 60 points, of which every one lies in one cell (60 = 3 * 4 * 5)
    inside = everywhere = 0.0
    for y in range(shape[0] * step):
        row = y * grid[0] // (shape[0] * step)
        line = np.arange(shape[1] * step)
        there = attention[row, line * grid[1] // (shape[1] * step)]
        everywhere += there[valid[y // step, line // step]].sum()
        inside += there[(mask & valid)[y // step, line // step]].sum()
    assert foreground_share(attention, mask, valid) == pytest.approx(inside / everywhere, abs=1e-9)
    assert cell_shares(mask, grid).sum() == pytest.approx(mask.sum())


def test_mfsr_and_its_curve(rng):
    score = ForegroundScore()
    samples = [("ab"[k % 2], float(v)) for k, v in enumerate(rng.random(9))]
    for name, value in [*samples, ("c", float("nan"))]:
        score.update(name, value)
    assert score.compute() == pytest.approx(
        np.mean([np.mean([v for n, v in samples if n == m]) for m in "ab"])
    )
    for threshold, share in zip(score.thresholds, score.curve()):
        assert share == sum(v > threshold for _, v in samples) / len(samples)
    assert np.isnan(ForegroundScore().compute()) and np.isnan(ForegroundScore().curve()).all()
    assert np.isnan(foreground_share(np.zeros((2, 2)), np.ones((4, 4), bool)))  # no attention at all


def test_affinity_of_modules(rng):
    features, text = rng.normal(size=(5, 7)), rng.normal(size=(3, 7))
    for row, found in zip(features, affinity(features, text)):
        total = 0.0
        for one in text:
            total += sum(a * b for a, b in zip(row, one)) / (sum(row**2) ** 0.5 * sum(one**2) ** 0.5)
        assert found == pytest.approx(total / len(text), abs=1e-12)
    assert np.isnan(affinity(features, text[:0])).all() and np.isnan(affinity(np.zeros((1, 7)), text)).all()


# ------------------------------------------------------------------------------- redundancy, points


def test_redundancy(rng):
    one, empty = rng.random((4, 5)), rng.random((4, 5))
    near = sum(abs(one[y, x] - empty[y, x]) for y in range(4) for x in range(5)) / 20
    assert redundancy(one, empty) == pytest.approx((near, sum(one.ravel()) / 20))
    assert redundancy(one, one)[0] == 0


@pytest.mark.parametrize("tolerance", [0, 1, 2.5])
def test_the_pointing_game(rng, tolerance):
    for _ in range(20):
        values, mask = rng.integers(0, 4, (6, 7)) / 4, rng.random((6, 7)) > 0.9
        valid = rng.random((6, 7)) > 0.2
        if not (mask & valid).any():
            continue
        top = max(values[y, x] for y in range(6) for x in range(7) if valid[y, x])
        hits = []
        for y in range(6):
            for x in range(7):
                if valid[y, x] and values[y, x] == top:
                    near = [np.hypot(y - v, x - u) for v in range(6) for u in range(7) if mask[v, u]]
                    hits.append(min(near) <= tolerance)
        assert pointing_game(values, mask, valid, tolerance) == pytest.approx(np.mean(hits))


def test_a_constant_map_points_at_random_and_an_absent_object_cannot_be_hit():
    mask = np.zeros((4, 4), bool)
    assert np.isnan(pointing_game(np.ones((4, 4)), mask))
    mask[0] = True
    assert pointing_game(np.zeros((4, 4)), mask) == 0.25
    assert np.isnan(pointing_game(np.zeros((4, 4)), mask, ~mask))


# ------------------------------------------------------------------------------------- multi-label


def literal_precision(scores, truth):
    """Precision at the score of every positive: of the images at least as high, the share of positives."""
    found = []
    for score, is_in in zip(scores, truth):
        if is_in:
            above = [t for s, t in zip(scores, truth) if s >= score]
            found.append(sum(above) / len(above))
    return sum(found) / len(found)


@pytest.mark.parametrize("values", [1000, 5], ids=["few equal scores", "many equal scores"])
def test_average_precision_is_the_loops_and_two_libraries(rng, values):
    scores = (rng.integers(0, values, (40, 6)) / values).astype(np.float32)
    truth = (rng.random((40, 6)) > 0.7).astype(int)
    truth[0] = 1
    score = MultiLabelScore([f"n{k}" for k in range(6)])
    score.update(scores[:3], truth[:3])
    for row in range(3, 40):
        score.update(scores[row], truth[row])
    for k, found in enumerate(score.per_class().values()):
        assert found == pytest.approx(literal_precision(scores[:, k], truth[:, k]), abs=1e-12)
        assert found == pytest.approx(average_precision_score(truth[:, k], scores[:, k]), abs=1e-12)
    other = multilabel_average_precision(torch.tensor(scores), torch.tensor(truth), 6, average="macro")
    assert score.compute() == pytest.approx(other.item(), abs=1e-6)


def test_labels_without_an_image_and_truth_that_is_not_known(rng):
    scores = rng.random((12, 3)).astype(np.float32)
    truth = np.zeros((12, 3), int)
    truth[[2, 5], 0], truth[:, 2] = 1, 1
    truth[[3, 4], 0] = NOT_COUNTED
    score = MultiLabelScore("abc")
    score.update(scores, truth)
    kept = truth[:, 0] != NOT_COUNTED
    first = average_precision_score(truth[kept, 0], scores[kept, 0])
    assert np.isnan(score.per_class()["b"]) and score.per_class()["c"] == 1
    assert score.compute() == pytest.approx((first + 1) / 2)
    assert np.isnan(MultiLabelScore("ab").compute())
    assert np.isnan(average_precision(np.zeros(0), np.zeros(0, int)))


def test_many_images_take_five_bytes_a_label():
    score = MultiLabelScore([str(k) for k in range(81)])
    block = np.zeros((500, 81), np.float32)
    for _ in range(6):
        score.update(block, np.zeros((500, 81), int))
    assert len(score) == 3000 and score._scores.nbytes + score._truth.nbytes <= 2 * 5 * 81 * 3000


# ---------------------------------------------------------------------- deletion, insertion, ranks


@pytest.mark.parametrize("mode", ["deletion", "insertion"])
@pytest.mark.parametrize("batch", [1, 4, 50])
def test_pixels_go_and_come_in_the_maps_order(rng, mode, batch):
    image = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    values = rng.permutation(20).reshape(5, 4) / 20
    calls = []

    def scores(pictures):
        calls.append(len(pictures))
        return pictures.astype(float).sum(axis=(1, 2, 3)) / 1e4

    found = perturbation_curve(image, values, scores, mode, steps=7, batch=batch)
    base = base_image(image, "mean" if mode == "deletion" else "blur")
    wanted = []
    for step in range(8):
        picture = (image if mode == "deletion" else base).astype(int).copy()
        places = sorted((-values[y, x], y, x) for y in range(5) for x in range(4))
        for _, y, x in places[: round(20 * step / 7)]:
            picture[y, x] = (base if mode == "deletion" else image)[y, x]
        wanted.append(picture.sum() / 1e4)
    assert np.allclose(found, wanted)
    assert max(calls) <= batch and len(calls) == -(-8 // batch)
    area = sum((a + b) / 2 for a, b in itertools.pairwise(wanted)) / 7
    assert area_under(found) == pytest.approx(area) and area == pytest.approx(np.trapezoid(wanted) / 7)


def test_what_stands_in_for_pixels(rng):
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert len(np.unique(base_image(image, "mean").reshape(-1, 3), axis=0)) == 1
    assert (base_image(image, "random", 1) == base_image(image, "random", 1)).all()
    assert base_image(image, "blur").std() < image.std() / 2
    assert (base_image(image, "blur") == cv2.GaussianBlur(image, (0, 0), 2.0)).all()
    assert {base_image(image, base).shape for base in BASES} == {image.shape}


def test_a_true_map_has_a_small_deletion_and_a_large_insertion():
    image = np.full((10, 10, 3), 100, np.uint8)
    image[:3, :3] = 250
    good, bad = (image[..., 0] == 250).astype(float), (image[..., 0] != 250).astype(float)

    def scores(pictures):
        return (pictures[:, :3, :3, 0] > 240).mean(axis=(1, 2))

    for mode in ("deletion", "insertion"):
        areas = [area_under(perturbation_curve(image, one, scores, mode, base="mean")) for one in (good, bad)]
        assert (areas[0] < areas[1]) if mode == "deletion" else (areas[0] > areas[1])


@pytest.mark.parametrize("values", [1000, 4])
def test_rank_correlation_is_spearmans(rng, values):
    one, other = rng.integers(0, values, (2, 6, 8)).astype(float)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    other_library = spearman_corrcoef(torch.tensor(one.ravel()), torch.tensor(other.ravel()))
    assert rank_correlation(one, other) == pytest.approx(other_library.item(), abs=1e-6)
    assert np.isnan(rank_correlation(one, np.zeros((6, 8))))


# ------------------------------------------------------------------------------- merging, misuse


@pytest.mark.parametrize(
    "make, samples",
    [
        (ForegroundScore, [("a", 0.1), ("b", 0.7), ("a", 0.9), ("c", 0.4)]),
        (MeanPerClass, [("a", 0.1), ("b", 0.7), ("a", float("nan"))]),
        (lambda: MultiLabelScore("xy"), [(np.array([0.1, 0.4]), np.array([1, k])) for k in (0, 1, -1)]),
    ],
)
def test_merged_scores_are_those_of_one_process(make, samples):
    alone, first, second = make(), make(), make()
    for index, sample in enumerate(samples):
        alone.update(*sample)
        (first, second)[index % 2].update(*sample)
    first.merge(second)
    first.merge(make())
    assert first.compute() == pytest.approx(alone.compute())


EYE = np.eye(3, dtype=bool)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: score_map(np.zeros((2, 3)), EYE, EYE, np.zeros(1)), "of one shape"),
        (lambda: score_map(np.full((3, 3), np.nan), EYE, EYE, np.zeros(1)), "without NaN"),
        (lambda: PerLabelScore(per="pixel"), "unknown threshold per 'pixel'"),
        (lambda: PerLabelScore().mean_iou("pixel"), "unknown threshold per"),
        (lambda: ForegroundScore().merge(ForegroundScore(np.zeros(1))), "same thresholds"),
        (lambda: redundancy(np.zeros((2, 2)), np.zeros((2, 3))), "of one shape"),
        (lambda: rank_correlation(np.zeros(2), np.zeros(3)), "of one shape"),
        (lambda: MultiLabelScore(()), "at least one label"),
        (lambda: MultiLabelScore("ab").update(np.zeros(3), np.zeros(3, int)), "for 2 labels"),
        (lambda: MultiLabelScore("ab").update(np.full(2, np.nan), np.zeros(2, int)), "without NaN"),
        (lambda: MultiLabelScore("ab").update(np.zeros(2), np.array([2, 0])), "a truth of 1, 0 or -1"),
        (lambda: MultiLabelScore("ab").merge(MultiLabelScore("ac")), "same labels"),
        (lambda: average_precision(np.zeros(2), np.zeros(3, int)), "of one length"),
        (lambda: average_precision(np.full(1, np.nan), np.ones(1, int)), "without NaN"),
        (lambda: area_under(np.zeros(1)), "two points"),
        (lambda: perturbation_curve(np.zeros((2, 2, 3), np.uint8), np.zeros((3, 3)), len), "a map of the"),
        (
            lambda: perturbation_curve(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), len, "up"),
            "unknown mode",
        ),
        (
            lambda: perturbation_curve(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), len),
            "a score for each",
        ),
        (lambda: base_image(np.zeros((2, 2, 3), np.uint8), "grey"), "unknown base"),
    ],
)
def test_misuse_is_one_line(call, message):
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
