"""Pixels belong to one object: who wins, and that nothing is shared or lost."""

from __future__ import annotations

import numpy as np

from ovseg.masks.exclusive import Found, exclusive

SIZE = (40, 60)


def square(top, left, side):
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def maps(*values):
    return {k: np.full((4, 6), value, np.float32) for k, value in enumerate(values)}


def total(found):
    return np.sum([one.mask(SIZE) for one in found], axis=0)


def test_two_words_on_one_object_leave_the_one_that_fits_better():
    one, other = Found.of(0, square(5, 5, 20), 0.9), Found.of(1, square(5, 6, 20), 0.1)
    (left,) = exclusive([one, other], maps(0.1, 0.3), SIZE)
    assert left.label == 1 and (left.mask(SIZE) == square(5, 6, 20)).all()


def test_an_object_on_a_large_one_keeps_its_pixels():
    """The star wins where its own map is higher, although the wall's mask covers all of it."""
    wall, star = Found.of(0, np.ones(SIZE, bool), 0.9), Found.of(1, square(10, 10, 10), 0.5)
    grids = maps(0.5, 0.0)
    grids[1][1, 1] = 0.9
    left = exclusive([wall, star], grids, SIZE)
    assert [one.label for one in left] == [0, 1]
    assert (left[1].mask(SIZE) == square(10, 10, 10)).all() and (total(left) == 1).all()


def test_of_one_class_the_higher_score_wins():
    left = exclusive(
        [Found.of(0, square(0, 0, 20), 0.2), Found.of(0, square(10, 10, 20), 0.8)], maps(1), SIZE
    )
    assert (left[1].mask(SIZE) == square(10, 10, 20)).all() and total(left).max() == 1


def test_what_is_left_of_little_is_dropped():
    inner = Found.of(1, square(10, 10, 10), 0.5)
    (left,) = exclusive([Found.of(0, square(5, 5, 20), 0.5), inner], maps(1, 0), SIZE)
    assert left.label == 0


def test_random_masks_never_share_pixels_and_lose_none_but_dropped_ones():
    rng = np.random.default_rng(5)
    for _ in range(30):
        found = [
            Found.of(
                int(rng.integers(4)), square(*rng.integers(0, 25, 2), int(rng.integers(1, 16))), rng.random()
            )
            for _ in range(8)
        ]
        grids = {k: rng.random((4, 6)).astype(np.float32) for k in range(4)}
        left = exclusive(found, grids, SIZE)
        assert total(left).max() <= 1 and left
        assert not (total(left) > 0)[total(found) == 0].any()
        assert all(one.crop.any(axis=0).all() or one.crop.any() for one in left)
        assert [(one.label, one.box) for one in left] == [
            (one.label, one.box) for one in exclusive(found, grids, SIZE)
        ]
