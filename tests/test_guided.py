"""Label maps that follow the image's edges: the guided filter against the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.maps.guided import guided
from ovseg.maps.scores import GridScores, bands, render


def literal(image: np.ndarray, maps: np.ndarray, half: int, epsilon: float) -> np.ndarray:
    """He et al. 2013, Eq. 14-16 window by window: (3, h, w) guide, (T, h, w) maps."""
    _, height, width = image.shape
    slopes, offsets = np.zeros((len(maps), 3, height, width)), np.zeros((len(maps), height, width))
    places = [(y, x) for y in range(height) for x in range(width)]

    def around(y, x):
        return (slice(None), slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1))

    for y, x in places:
        guide = image[around(y, x)].reshape(3, -1)
        values = maps[around(y, x)].reshape(len(maps), -1)
        spread = np.cov(guide, bias=True) + epsilon * image.var(ddof=1) * np.eye(3)
        shared = (guide - guide.mean(1, keepdims=True)) @ (values - values.mean(1, keepdims=True)).T
        slopes[:, :, y, x] = np.linalg.solve(spread, shared / guide.shape[1]).T
        offsets[:, y, x] = values.mean(1) - slopes[:, :, y, x] @ guide.mean(1)
    found = np.zeros_like(maps)
    for y, x in places:
        slope = slopes[(slice(None), *around(y, x))].mean(axis=(2, 3))
        found[:, y, x] = slope @ image[:, y, x] + offsets[around(y, x)].mean(axis=(1, 2))
    return found


def test_the_filter_is_the_papers_where_fit_and_guide_have_one_size():
    rng = np.random.default_rng(0)
    image, maps = rng.random((3, 12, 16)), rng.random((2, 12, 16))
    found = guided(GridScores(torch.tensor(maps)), torch.tensor(image), (3, 4), radius=0.5, epsilon=0.1)
    np.testing.assert_allclose(render(found, (12, 16)), literal(image, maps, 2, 0.1), atol=1e-4)


def test_bands_are_the_whole_map(monkeypatch):
    monkeypatch.setattr("ovseg.maps.scores.BAND_VALUES", 400)
    scores = guided(GridScores(torch.rand(3, 4, 5)), torch.rand(3, 64, 80), (4, 5))
    parts = list(bands(scores, (60, 90)))
    assert len(parts) > 10
    torch.testing.assert_close(torch.cat(parts, dim=1), render(scores, (60, 90)))


def test_a_step_in_the_image_becomes_the_boundary():
    """A map that is smooth over two cells, an edge inside a cell: the labels change at the edge."""
    image = torch.zeros(3, 64, 64)
    image[:, :, 37:] = 1
    ramp = torch.tensor([0.0, 0.2, 0.8, 1.0]).expand(1, 4, 4)
    scores = GridScores(torch.cat([1 - ramp, ramp]))
    plain = render(scores, (64, 64)).argmax(dim=0)
    found = render(guided(scores, image, (4, 4), epsilon=1e-3), (64, 64)).argmax(dim=0)
    wanted = image[0].long()
    assert (found == wanted).float().mean() == 1 > (plain == wanted).float().mean()


def test_scenes_are_segmented_better(model):
    """Sharp shapes on textures: more pixels are right with the filter than without."""
    right = {None: 0.0, "guided": 0.0}
    for seed in range(900, 912):
        scene = make_scene(seed, (128, 160))
        names = list(scene.present)
        wanted = np.array([names.index(NAMES[k]) if NAMES[k] in names else 255 for k in range(len(NAMES))])
        for edges in right:
            found = model.segment(scene.image, names, edges=edges)
            right[edges] += float((found.array == wanted[scene.labels]).mean())
    assert right["guided"] > right[None]


def test_whole_images_and_windows_give_labels_at_the_images_size(model):
    scene = make_scene(3, (96, 128))
    whole = model.segment(scene.image, "stripes, waves, gravel", edges="guided", size=96)
    windows = model.segment(scene.image, "stripes, waves, gravel", edges="guided", size=96, window=96)
    assert whole.array.shape == windows.array.shape == (96, 128)


def test_an_unknown_filter_is_one_line(model):
    with pytest.raises(UsageError, match="edges"):
        model.segment(np.zeros((32, 32, 3), np.uint8), "a, b", edges="crf")
