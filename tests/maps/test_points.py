"""Point prompts: the paper's rule against golden outputs and a slow version, ours by what it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovseg.errors import UsageError
from ovseg.maps import points as rules
from ovseg.maps.points import paper_points, paper_points_of_several
from ovseg.results.base import PointPrompts

GOLDEN = Path(__file__).parents[1] / "data" / "vit.npz"


def component_points(values, size, **options):
    return [prompts for prompts, _ in rules.component_points(values, size, **options)]


def blobs(*centres: tuple[float, float], grid: tuple[int, int] = (16, 24), width: float = 1.5) -> np.ndarray:
    """A map with a bump at each (x, y) in cells."""
    y, x = np.mgrid[: grid[0], : grid[1]]
    bumps = [np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2)) for cx, cy in centres]
    return np.max(bumps, axis=0).astype(np.float32)


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("text", [0, 1, 2])
def test_paper_points_equal_the_golden_ones(side, text):
    golden = np.load(GOLDEN)
    tokens = golden[f"label_set_surgery{side}"][0, 1:, text]
    grid = tokens.reshape(side // 16, side // 16)
    found = paper_points(grid, (240, 320), halve=True)
    assert np.array_equal(found.xy, golden[f"points{side}_{text}"])
    assert np.array_equal(found.labels, golden[f"labels{side}_{text}"])


@pytest.mark.parametrize("grid", [(7, 28), (5, 3), (1, 9), (14, 14)])
def test_paper_points_equal_the_sentence_in_the_paper(grid):
    rng = np.random.default_rng(sum(grid))
    values = rng.normal(size=grid).astype(np.float32)
    unit = (values - values.min()) / (values.max() - values.min())
    height, width = 100, 330
    wanted_on, wanted_off = [], []
    cells = sorted((unit[y, x], y, x) for y in range(grid[0]) for x in range(grid[1]))
    on = [cell for cell in cells if cell[0] >= 0.8]
    for chosen, into in ((on, wanted_on), (cells[: len(on)], wanted_off)):
        for _, y, x in chosen:
            into.append((int((x + 0.5) * width / grid[1]), int((y + 0.5) * height / grid[0])))
    found = paper_points(values, (height, width))
    assert found.positives.tolist() == [list(map(float, p)) for p in wanted_on]
    assert found.negatives.tolist() == [list(map(float, p)) for p in wanted_off]


def test_at_most_half_of_the_cells_are_positive():
    values = np.full((4, 4), 1.0, np.float32)
    values[0, 0] = 0
    found = paper_points(values, (32, 32))
    assert len(found.positives) == len(found.negatives) == 8
    assert [0, 0] not in (found.positives // 8).tolist()


@pytest.mark.parametrize("values", [np.zeros((4, 6)), np.full((1, 1), 0.3), np.full((3, 3), 0.2) + 1e-9])
def test_a_constant_map_has_no_points(values):
    assert len(paper_points(values, (40, 60))) == len(paper_points(values, (40, 60), halve=True)) == 0
    assert component_points(values, (40, 60)) == []
    assert len(paper_points_of_several(values[None], (40, 60))) == 0


def test_a_map_that_halving_flattens_has_no_points():
    checker = np.indices((4, 4)).sum(0) % 2
    assert len(paper_points(checker, (40, 40))) > 0
    assert len(paper_points(checker, (40, 40), halve=True)) == 0


def test_combined_targets_have_positives_on_each_and_negatives_on_none():
    maps = np.stack([blobs((4, 4)), 0.01 * blobs((18, 12))])
    found = paper_points_of_several(maps, (160, 240))
    near = [np.linalg.norm(found.positives - place, axis=1).min() for place in ((45, 45), (185, 125))]
    assert max(near) < 12
    assert min(np.linalg.norm(found.negatives - place, axis=1).min() for place in ((45, 45), (185, 125))) > 40


def test_two_bumps_are_two_prompt_sets():
    sets = component_points(blobs((4, 4), (18, 12)), (160, 240))
    assert len(sets) == 2
    centres = sorted(s.positives.mean(0).round(-1).tolist() for s in sets)
    assert np.allclose(centres, [[45, 45], [185, 125]], atol=8)


def test_each_prompt_set_comes_with_its_own_part_of_the_map():
    (one, first), (two, second) = rules.component_points(blobs((4, 4), (18, 12)), (160, 240))
    assert first.shape == second.shape and np.array_equal(np.maximum(first, second).max(), 1)
    scale = first.shape[0] / 160
    for prompts, own, other in ((one, first, second), (two, second, first)):
        x, y = (prompts.positives * scale).astype(int).T
        assert (own[y, x] >= 0.6).all() and (other[y, x] == 0).all()
    low = np.maximum(first, second) < 0.6
    assert np.array_equal(first[low], second[low])


def test_components_come_by_the_sum_of_the_map_on_them():
    mask, values = np.zeros((3, 12), bool), np.zeros((3, 12), np.float32)
    for columns, height in ((slice(0, 2), 0.9), (slice(3, 7), 0.6), (slice(8, 12), 0.7)):
        mask[1, columns], values[1, columns] = True, height
    first = [int(np.flatnonzero(one[1])[0]) for one in rules.components(mask, values, 0.1)]
    assert first == [8, 3, 0]  # 2.8, 2.4, 1.8


def test_positives_keep_away_from_the_border_of_their_component():
    """On a square of 80 pixels all heights are equal, and only the depth tells the places apart."""
    values = np.zeros((16, 24), np.float32)
    values[4:12, 8:16] = 1
    (found,) = component_points(values, (160, 240))
    assert len(found.positives) == 3
    inside = np.minimum(found.positives - [80, 40], [160, 120] - found.positives)
    assert inside.min() > 15


@pytest.mark.parametrize("size", [(160, 240), (1600, 2400), (37, 55)])
@pytest.mark.parametrize("seed", range(5))
def test_positives_lie_high_and_negatives_low_and_few(seed, size):
    rng = np.random.default_rng(seed)
    centres = [(rng.uniform(2, 22), rng.uniform(2, 14)) for _ in range(3)]
    values = blobs(*centres)
    sets = component_points(values, size)
    assert sets
    for prompts in sets:
        assert 1 <= len(prompts.positives) <= 3 and 1 <= len(prompts.negatives) <= 4
        assert (prompts.xy >= 0).all() and (prompts.xy < [size[1], size[0]]).all()
        cells = (prompts.xy / [size[1] / 24, size[0] / 16]).astype(int)
        heights = values[cells[:, 1], cells[:, 0]]
        assert heights[prompts.labels == 1].min() > 0.4 > heights[prompts.labels == 0].max()


def test_negatives_are_near_the_object_and_keep_off_other_targets():
    values, other = blobs((4, 8)), blobs((9, 8))
    plain = component_points(values, (160, 240))[0]
    assert np.linalg.norm(plain.negatives - [45, 85], axis=1).max() < 100
    kept_off = component_points(values, (160, 240), avoid=other)[0]
    assert np.linalg.norm(kept_off.negatives - [95, 85], axis=1).min() > 15


def test_a_slope_has_negatives_only_where_a_low_part_is_near():
    slow = np.tile(np.linspace(0, 1, 24, dtype=np.float32), (16, 1))
    assert [len(one.negatives) for one in component_points(slow, (160, 240))] == [0]
    (steep,) = component_points(slow**4, (160, 240))
    assert len(steep.negatives) == 4 and 100 < steep.negatives[:, 0].max() < 200


def test_small_components_and_a_crowd_are_dropped():
    values = blobs((6, 8), width=4.0)
    values[1, 20] = 0.9
    assert len(component_points(values, (160, 240), smallest=0.2)) == 1
    crowd = blobs(*[(x, y) for x in range(2, 24, 5) for y in range(2, 16, 5)], width=0.8)
    assert len(component_points(crowd, (160, 240))) == 8


def test_points_on_one_pixel_and_on_a_strip():
    assert all(len(s) >= 1 for s in component_points(blobs((4, 4)), (1, 20000)))
    found = component_points(np.array([[0.0, 1.0]]), (1, 2))
    assert len(found) == 1 and found[0].positives.tolist() == [[1, 0]]


def test_the_same_map_gives_the_same_points_whatever_its_scale():
    values = np.random.default_rng(0).normal(size=(9, 13)).astype(np.float32)
    first, again = component_points(values, (90, 130)), component_points(values * 7 - 3, (90, 130))
    assert len(first) == len(again) > 0
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.xy, two.xy) and np.array_equal(one.labels, two.labels)


def test_prompts_check_themselves():
    with pytest.raises(ValueError, match="expected xy"):
        PointPrompts(np.zeros((2, 3)), np.zeros(2, np.uint8))
    for xy, labels in (([[1, 2]], np.ones(1)), (np.array([["a", "b"]]), np.ones(1)), (np.ones((1, 2)), [1])):
        with pytest.raises(UsageError, match="expected (xy|labels) .*, got"):
            PointPrompts(xy, labels)
    with pytest.raises(ValueError, match="expected labels 0 and 1"):
        PointPrompts(np.zeros((1, 2)), np.array([2]))
    with pytest.raises(ValueError, match="expected a map"):
        paper_points(np.zeros((1, 2, 3)), (4, 4))
