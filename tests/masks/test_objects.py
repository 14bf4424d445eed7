"""From the masks of a map's prompt sets to one mask an object."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.masks.shapes import expected_iou, objects, tidy


def test_two_alike_are_two_masks(always, things):
    """A scene beside its mirror image: the same thing twice, and neither mask lies on both."""
    counts = []
    for seed in range(707, 717):
        scene = make_scene(seed, things=1)
        if not things(scene):
            continue
        truth = scene.labels == NAMES.index(things(scene)[0])
        if truth[:, -1].any():
            continue  # the two would touch
        image = np.concatenate([scene.image, scene.image[:, ::-1]], axis=1)
        found = always.predict(image, things(scene)[0])
        counts.append(len(found))
        halves = [(mask[:, :128].any(), mask[:, 128:].any()) for mask in found.masks]
        assert (True, True) not in halves or len(found) == 1
    assert len(counts) >= 4 and np.mean(np.array(counts) == 2) >= 0.75, counts


def test_objects_are_the_parts_with_points_and_lose_nothing():
    mask = np.zeros((20, 30), bool)
    mask[2:6, 2:6] = mask[10:18, 10:20] = mask[2:4, 20:22] = True
    first, second = objects(mask, np.array([[3.5, 3.0], [12.0, 12.0], [13.0, 12.0], [29.0, 19.0]]))
    assert second[2:6, 2:6].all() and second.sum() == 16
    assert first[2:4, 20:22].all() and first.sum() == mask.sum() - 16  # the part without a point too
    for points in ([[3.5, 3.0]], [[0.0, 0.0]], np.zeros((0, 2))):
        (only,) = objects(mask, np.array(points))
        assert (only == mask).all()


def test_expected_iou_is_the_iou_with_each_place_counted_by_its_chance():
    rng = np.random.default_rng(0)
    mask, region = rng.random((6, 8)) > 0.5, rng.random((6, 8)).astype(np.float32)
    assert expected_iou(mask, mask.astype(np.float32)) == pytest.approx(1)
    assert expected_iou(~mask, mask.astype(np.float32)) == 0
    both = sum(chance**2 for inside, chance in zip(mask.ravel(), region.ravel(), strict=True) if inside)
    wanted = both / (mask.sum() + (region**2).sum() - both)
    assert expected_iou(mask, region) == pytest.approx(wanted, rel=1e-5)
    large = np.repeat(np.repeat(mask, 3, 0), 3, 1)  # at the image's size
    assert expected_iou(large, region) == pytest.approx(wanted, rel=1e-5)
    assert expected_iou(np.zeros((6, 8), bool), np.zeros((6, 8), np.float32)) == 0


def test_tidy_takes_specks_and_holes_and_leaves_the_rest():
    mask = np.zeros((40, 40), bool)
    mask[5:30, 5:30] = True
    rough = mask.copy()
    rough[10, 10], rough[38, 38] = False, True
    assert (tidy(rough, 0.02) == mask).all() and (tidy(rough, 0) == rough).all()
    rough[12:20, 12:20] = False  # a hole that is no accident
    assert not tidy(rough, 0.02)[15, 15]
    rough = mask.copy()
    rough[10, 12], rough[38, 37] = False, True
    clicks = [(12.7, 10.2, False), (37.0, 38.9, True)]  # (x, y), in the hole and on the speck
    assert (tidy(rough, 0.02) == mask).all() and (tidy(rough, 0.02, clicks) == rough).all()
    swapped = [(x, y, not foreground) for x, y, foreground in clicks]
    assert (tidy(rough, 0.02, swapped) == mask).all()
    dots = np.zeros((9, 9), bool)
    dots[1, 1] = dots[5, 5] = True
    assert tidy(dots, 0.9).sum() == 1  # never nothing
    assert not tidy(np.zeros((3, 3), bool), 0.1).any() and tidy(np.ones((3, 3), bool), 0.1).all()


def slow_tidy(mask, share):
    """``tidy`` without clicks, a component of the whole image at a time."""
    limit, out = share * mask.sum(), mask.copy()
    for value in (True, False):
        count, labels = cv2.connectedComponents((out == value).astype(np.uint8), connectivity=8)
        parts = [labels == k for k in range(1, count)]
        largest = max(range(len(parts)), key=lambda k: parts[k].sum(), default=None)
        for k, part in enumerate(parts):
            if part.sum() < limit and not (value and k == largest):
                out[part] = not value
    return out


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_tidy_is_that_of_components_one_at_a_time(share):
    """Blobs of every kind: at the border of the image, all of it, in many parts, with many holes."""
    rng = np.random.default_rng(5)
    changed = 0
    for sigma in (1, 3, 6):
        for level in (-1.5, -0.5, 0, 0.5, 1.5):
            noise = cv2.GaussianBlur(rng.normal(size=(40, 56)), (0, 0), sigma)
            mask = noise / noise.std() > level
            if not mask.any():
                continue
            found = tidy(mask, share)
            assert (found == slow_tidy(mask, share)).all()
            changed += (found != mask).any()
    assert changed >= 5
