"""What is drawn over a photo: colours that stand out, the chosen word's masks stronger than the others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ovseg.apps.page.answers import Answer, View
from ovseg.apps.page.drawing import APART, MAP, MASKS, PHOTO, draw_view, word_colours
from ovseg.masks.exclusive import Found
from ovseg.results import figures


def view_of(photo, maps, chosen=0, masks=()):
    """A view of one photo, whose words have these maps and masks."""
    answers = tuple(
        Answer(f"word {k}", one.astype(np.float32), 0.9, 0.5, tuple(masks[k : k + 1]))
        for k, one in enumerate(maps)
    )
    return View(1, photo, photo, "x", None, answers, f"word {chosen}", "open", 1, 1, 0, 0, (), "words", {})


def lab(colour):
    return cv2.cvtColor(np.float32([[colour]]) / 255, cv2.COLOR_RGB2LAB)[0, 0]


def distance(one, other):
    return float(np.linalg.norm(lab(one) - lab(other)))


@pytest.mark.parametrize("place", range(6))
def test_a_word_whose_usual_colour_is_that_of_the_photo_gets_another(place):
    """Fault 59: blue on a blue sky."""
    usual = figures.palette(6)
    photo = np.full((60, 80, 3), 128, np.uint8)
    photo[:30] = usual[place]
    maps = [np.repeat([[1.0], [0.0]] if k == place else [[0.0], [1.0]], 3, axis=1) for k in range(6)]
    colours = word_colours(view_of(photo, maps))
    assert distance(usual[place], photo[0, 0]) < 1
    assert distance(colours[place], photo[0, 0]) > 30
    assert len(set(colours)) == 6


def test_words_keep_their_usual_colours_where_these_stand_out():
    photo = np.full((60, 80, 3), 128, np.uint8)
    colours = word_colours(view_of(photo, [np.eye(3)] * 3))
    assert colours == [tuple(int(v) for v in one) for one in figures.palette(3)]
    assert min(distance(one, (128, 128, 128)) for one in colours) >= APART
    assert word_colours(view_of(photo, [])) == []
    assert (
        len(word_colours(view_of(photo, [np.ones((2, 2))] * 100))) == 100
    )  # more than there are to choose from


def test_the_chosen_mask_stands_out():
    photo = np.full((60, 80, 3), 128, np.uint8)
    half = np.ones((60, 40), bool)
    masks = [Found(0, half, (0, 0, 40, 60), 0.9), Found(1, half, (40, 0, 80, 60), 0.9)]
    strength = {}
    for chosen in (0, 1):
        view = view_of(photo, [np.eye(2), np.eye(2)], chosen, masks)
        drawn = draw_view(view, MASKS)
        strength[chosen] = [distance(drawn[30, x], photo[30, x]) for x in (20, 60)]
        assert (drawn == 255).all(axis=2).any(axis=0)[:40].any() == (chosen == 0)  # a white outline
    assert strength[0][0] > strength[1][0] + 10 and strength[1][1] > strength[0][1] + 10
    assert np.array_equal(draw_view(view, PHOTO), photo) and not np.array_equal(draw_view(view, MAP), photo)
