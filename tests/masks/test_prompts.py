"""From the maps of a word, clicks and a box to prompt sets."""

from __future__ import annotations

import numpy as np
import pytest

from ovseg.maps.points import no_points
from ovseg.masks.encoded import Rated, parse_words
from ovseg.masks.prompts import PromptSet, add_box, add_clicks, cut_box, join, prompt_sets, rival_map
from ovseg.results.base import PointPrompts

SIZE = (160, 240)


def rated(text: str, *maps: np.ndarray, shares: tuple[float, ...] = ()) -> Rated:
    (word,) = parse_words(text)
    presence = dict(zip(word.names, shares or (1.0,) * len(word.names), strict=True))
    return Rated(word, np.stack(maps).astype(np.float32), presence)


def bump(*centres: tuple[float, float, float], grid: tuple[int, int] = (16, 24)) -> np.ndarray:
    """A map with a bump of a width at each (x, y, width) in cells."""
    y, x = np.mgrid[: grid[0], : grid[1]]
    return np.max([np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * w**2)) for cx, cy, w in centres], axis=0)


def test_the_strongest_component_comes_first(t2m):
    for centres in (((4, 4, 1.2), (18, 11, 2.5)), ((18, 4, 2.5), (4, 11, 1.2))):
        sets, reason = prompt_sets(t2m._setup, rated("cat", bump(*centres)), SIZE)
        x, y, _ = max(centres, key=lambda centre: centre[2])
        assert len(sets) == 2 and reason is None
        assert np.linalg.norm(sets[0].prompts.positives[0] - [10 * x + 5, 10 * y + 5]) < 15
        assert sets[0].whole is sets[1].whole


def test_negatives_of_one_name_keep_off_the_other(t2m):
    """Both are wanted: a negative point of one on the other would cut it away."""
    maps = bump((8, 8, 1.5)), bump((12, 8, 1.5))
    (alone,), _ = prompt_sets(t2m._setup, rated("cat", maps[0]), SIZE)
    both, _ = prompt_sets(t2m._setup, rated("cat+dog", *maps), SIZE)
    assert len(both) == 2

    def highest(one, other):
        x, y = (one.prompts.negatives // 10).astype(int).T
        return other[y, x].max()

    assert highest(alone, maps[1]) > 0.5
    assert highest(both[0], maps[1]) < 0.4 and highest(both[1], maps[0]) < 0.4


@pytest.mark.parametrize("centre", [(0, 0), (23, 0), (0, 15), (23, 15), (12, 15)])
def test_points_of_a_component_at_the_border_lie_inside_it(t2m, centre):
    """The image's edge is a border too: a point on its last pixel says little, as one on a part's rim."""
    ((one,), _) = prompt_sets(t2m._setup, rated("cat", bump((*centre, 3.0))), SIZE)
    inside = one.prompts.positives
    assert len(inside) and (inside >= 3).all() and (inside <= [SIZE[1] - 4, SIZE[0] - 4]).all()
    xy = one.prompts.xy
    assert (xy >= 0).all() and (xy < [SIZE[1], SIZE[0]]).all()


def test_why_a_name_has_no_prompts(t2m):
    flat, peak = np.full((4, 6), 0.3), bump((3, 2, 1), grid=(4, 6))
    sets, reason = prompt_sets(t2m._setup, rated("cat+dog", peak, peak, shares=(0.7, 0.2)), SIZE)
    assert len(sets) == 1 and reason == "not in this picture: 'dog' (presence 0.20, needs 0.5)"
    sets, reason = prompt_sets(t2m._setup, rated("cat", flat), SIZE)
    assert sets == [] and reason == "the map is the same everywhere: nothing stands out"
    sets, reason = prompt_sets(t2m._setup, rated("cat", peak, shares=(0.2,)), SIZE)
    assert sets == [] and reason.startswith("not in this picture: 'cat'")


def test_the_sets_of_a_map_join_into_one(t2m):
    sets, _ = prompt_sets(t2m._setup, rated("cat", bump((4, 4, 1.5), (18, 11, 1.5))), SIZE)
    clicked = add_clicks(sets, [(3.0, 4.0, False)])
    whole = join(clicked)
    for which in ("positives", "negatives"):
        points = [xy for one in sets for xy in getattr(one.prompts, which).tolist()]
        assert getattr(whole.prompts, which).tolist() == points
    assert whole.clicks == ((3.0, 4.0, False),) and whole.region is sets[0].whole
    assert join(sets[:1]) is None
    assert join([PromptSet(whole.prompts)] * 2) is None  # clicks alone come from no map


def test_clicks_go_to_the_nearest_set_or_to_all():
    places = np.array([[[10, 10]], [[100, 100]]], np.float32)
    sets = [PromptSet(PointPrompts(xy, np.ones(1, np.uint8))) for xy in places]
    first, second = add_clicks(sets, [(90.0, 90.0, True), (5.0, 5.0, False)])
    assert first.clicks == ((5.0, 5.0, False),) and second.clicks == ((90.0, 90.0, True), (5.0, 5.0, False))
    prompts = second.with_clicks(second.prompts)
    assert prompts.labels.tolist() == [1, 1, 0] and prompts.xy.tolist() == [[100, 100], [90, 90], [5, 5]]
    (alone,) = add_clicks([], [(5.0, 5.0, False), (9.0, 9.0, True)])
    assert alone.clicks == ((5.0, 5.0, False), (9.0, 9.0, True)) and len(alone.prompts) == 0
    assert add_clicks([], [(5.0, 5.0, False)]) == []


def test_a_box_keeps_the_sets_in_it_and_stands_alone_without_any():
    xy = np.array([[10, 10], [60, 60], [200, 5]], np.float32)
    one = PromptSet(PointPrompts(xy, np.array([1, 1, 0], np.uint8)))
    (kept,) = add_box([one, PromptSet(no_points())], (0, 0, 50, 50))
    assert kept.prompts.xy.tolist() == [[10, 10], [200, 5]] and kept.box == (0, 0, 50, 50)
    (alone,) = add_box([one], (100, 100, 120, 120))
    assert len(alone.prompts) == 0 and alone.box == (100, 100, 120, 120) and alone.region is None
    assert add_box([one], None) == [one]
    assert cut_box((-5, 3, 1000, 70), (80, 90)) == (0, 3, 90, 70)


def test_a_rival_is_on_the_scale_of_the_words_own_map(t2m):
    own, other = np.array([[2.0, 4.0], [6.0, 10.0]]), np.array([[6.0, 0.0], [20.0, 2.0]])
    np.testing.assert_allclose(rival_map(own, [other], (2, 2)), [[0.5, 0], [1, 0]])
    np.testing.assert_allclose(rival_map(own, [other, own], (2, 2)), [[0.5, 0.25], [1, 1]])
    assert rival_map(own, [], (2, 2)) is None
    cat, dog = bump((4, 8, 2)), bump((18, 8, 2))
    sets, _ = prompt_sets(t2m._setup, rated("cat", cat), SIZE, [dog.astype(np.float32)])
    assert sets[0].rival.shape == sets[0].whole.shape and sets[0].rival.argmax() != sets[0].whole.argmax()
    assert join([sets[0], sets[0]]).rival is sets[0].rival
