"""Similarity maps, label maps, windows and recognition against literal versions and decided edge cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ovseg.errors import UsageError
from ovseg.maps import recognition
from ovseg.maps import similarity as sim
from ovseg.maps.labels import kept_classes, label_map, merge_synonyms, probabilities
from ovseg.maps.recognition import recognizer
from ovseg.maps.scores import Cropped, Flipped, GridScores, Resized, WindowScores, render, windows

DATA = Path(__file__).parents[1] / "data"


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


@pytest.mark.parametrize(("surgery", "form"), [("label_set", "paper"), ("label_set_code", "code")])
@pytest.mark.parametrize("texts", [2, 7, 171])
def test_label_set_surgery_equals_the_literal_product(reference, surgery, form, texts):
    patches, text, token = unit(2, 30, 48), unit(texts, 48, seed=1), unit(2, 48, seed=2)
    got = sim.label_set_surgery(sim.cosine(patches, text), sim.class_weights(token, text), surgery)
    wanted = torch.stack([reference.label_set(p, text, c, form=form) for p, c in zip(patches, token)])
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-6)


def test_empty_surgery_equals_the_literal_product(reference):
    patches, text, empty = unit(2, 30, 48), unit(5, 48, seed=1), unit(1, 48, seed=2)
    got = sim.empty_text_surgery(patches, text, empty)
    wanted = torch.stack([reference.single(p, text, empty[0]) for p in patches])
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("side", [64, 128])
def test_surgery_and_maps_equal_the_original_implementation(side):
    """Golden: the public code's form on all tokens, its maps normalised before they are resized."""
    golden = np.load(DATA / "vit.npz")
    tokens, text, empty = (torch.from_numpy(golden[k]) for k in (f"tokens{side}", "text", "empty"))
    weights = sim.class_weights(tokens[:, 0], text)
    tokens = torch.nn.functional.normalize(tokens, dim=-1)
    got = sim.label_set_surgery(sim.cosine(tokens, text), weights, "label_set_code")
    np.testing.assert_allclose(got.numpy(), golden[f"label_set_surgery{side}"], atol=1e-5)
    single = sim.empty_text_surgery(tokens, text[:1], empty)
    np.testing.assert_allclose(single.numpy(), golden[f"single_text_surgery{side}"], atol=1e-5)
    grid = (side // 16, side // 16)
    maps = sim.similarity_map(got[:, 1:], grid, (40, 56), normalise_first=True)
    np.testing.assert_allclose(maps.permute(0, 2, 3, 1).numpy(), golden[f"map{side}"], atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_maps_equal_the_literal_equation(reference, first):
    scores = torch.randn(6, 3)
    got = sim.similarity_map(scores[None], (2, 3), (20, 17), normalise_first=first)[0]
    np.testing.assert_allclose(
        got.numpy(), reference.similarity_map(scores, (2, 3), (20, 17), first).numpy(), atol=1e-6
    )


def test_maps_reach_both_ends_and_a_constant_map_is_zero():
    maps = sim.similarity_map(
        torch.stack([torch.arange(6.0), torch.full((6,), 0.3)], -1)[None], (2, 3), (9, 9)
    )
    assert maps[0, 0].min() == 0 and maps[0, 0].max() == 1
    assert maps[0, 1].abs().max() == 0


def test_weak_maps_are_normalised_and_rounding_is_not():
    weak = torch.tensor([[[0.2, 0.2 + 1e-4]], [[0.2, 0.2 + 5e-7]]])
    assert sim.min_max(weak).tolist() == [[[0, 1]], [[0, 0]]]


@pytest.mark.parametrize("size", [(40, 56), (3, 4), (2, 9), (1, 1)], ids=str)
def test_rows_of_a_resized_map_are_the_resized_maps(size):
    maps = torch.randn(3, 5, 7)
    whole = sim.resize(maps[None], size)[0]
    parts = [render(GridScores(maps), size, range(t, min(t + 3, size[0]))) for t in range(0, size[0], 3)]
    np.testing.assert_allclose(torch.cat(parts, dim=1).numpy(), whole.numpy(), atol=1e-5)


def test_the_papers_form_keeps_the_ranking_and_the_codes_does_not():
    cosines, weights = 0.2 * torch.randn(1, 500, 9).tanh(), torch.rand(1, 9) + 0.5
    weights = weights / weights.mean()
    ranking = cosines.argsort(dim=-1)
    assert torch.equal(sim.label_set_surgery(cosines, weights).argsort(dim=-1), ranking)
    assert not torch.equal(sim.label_set_surgery(cosines, weights, "label_set_code").argsort(dim=-1), ranking)


def test_one_text_or_an_unknown_form_is_misuse():
    with pytest.raises(UsageError, match="at least two names"):
        sim.label_set_surgery(torch.zeros(1, 4, 1), torch.ones(1, 1))
    with pytest.raises(UsageError, match="unknown form 'papers'"):
        sim.label_set_surgery(torch.zeros(1, 4, 2), torch.ones(1, 2), "papers")


def test_nothing_of_the_size_of_the_product_is_allocated():
    """(N, K, C) would be 1024 x 171 x 512 floats, 359 MB; the closed form stays under 2 % of it."""
    patches, text, token = unit(1, 1024, 512), unit(171, 512, seed=1), unit(1, 512, seed=2)
    with torch.profiler.profile(
        profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
    ) as profile:
        sim.label_set_surgery(sim.cosine(patches, text), sim.class_weights(token, text))
    largest = max(e.cpu_memory_usage for e in profile.events())
    assert 0 < largest < 0.02 * 4 * 1024 * 171 * 512


@pytest.mark.parametrize(
    "surgery, scale, wanted",
    [("none", None, "cosine"), ("none", 100.0, "softmax"), ("label_set", None, "paper")],
)
def test_recognition_is_surgery_on_the_class_token(reference, surgery, scale, wanted):
    token, text = unit(2, 16), unit(5, 16, seed=1)
    got = recognizer(text, surgery, softmax_scale=scale)(token)
    cosines = token @ text.T
    expected = {
        "cosine": cosines,
        "softmax": (100 * cosines).softmax(-1),
        "paper": torch.cat([reference.label_set(t[None], text, t) for t in token]),
    }[wanted]
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-6)


# ------------------------------------------------------------------------------------------- labels


def test_presence_by_hand():
    """Places and image at even odds with the rivals: log of a half times a half, from the border."""
    places, images = np.array([[0.2, 0.5], [0.2, 0.1]]), np.array([[0.3, 0.3]])
    at_places, at_images = np.array([0.2, 0.2]), np.array([0.3])
    found = recognition.presences(places, images, at_places, at_images, 10.0)
    even = 1 / (1 + np.exp(-(np.log(0.25) - recognition.BORDER) / recognition.WIDTH))
    higher = 1 / (1 + np.exp(-3.0))  # the best place of the second text is 0.3 above its level
    wanted = 1 / (1 + np.exp(-(np.log(higher / 2) - recognition.BORDER) / recognition.WIDTH))
    np.testing.assert_allclose(found, [even, wanted])
    many = np.linspace(0, 1, 100)[:, None]  # the best 2 of 100 places are averaged
    found = recognition.presences(many, np.zeros((1, 1)), np.full(100, 0.9), np.zeros(1), 10.0)
    best = np.mean(1 / (1 + np.exp(-10 * (many[-2:, 0] - 0.9))))
    wanted = (np.log(best / 2) - recognition.BORDER) / recognition.WIDTH
    np.testing.assert_allclose(found, [1 / (1 + np.exp(-wanted))])
    np.testing.assert_allclose(recognition.sigmoid_presences(np.array([[0.1], [0.3]]), 10.0, -3.0), [0.5])


def test_the_best_text_stands_for_its_class():
    maps = torch.tensor([0.1, 0.7, 0.2, 0.5])[:, None, None]
    assert merge_synonyms(maps, [0, 0, 1, 2]).flatten().tolist() == pytest.approx([0.7, 0.2, 0.5])
    assert merge_synonyms(maps, [0, 1, 2, 3]) is maps


def test_synonyms_after_and_before_the_softmax_by_hand():
    cosines = torch.tensor([0.10, 0.12, 0.11])[:, None, None]
    after = probabilities(cosines, [0, 0, 1], logit_scale=50.0).flatten()
    e = np.exp(50 * np.array([0.10, 0.12, 0.11]))
    np.testing.assert_allclose(after.numpy(), [e[1] / e.sum(), e[2] / e.sum()], atol=1e-5)
    before = probabilities(cosines, [0, 0, 1], logit_scale=50.0, synonyms="cosine").flatten()
    np.testing.assert_allclose(before.numpy(), e[1:] / e[1:].sum(), atol=1e-5)
    with pytest.raises(UsageError, match="unknown synonyms"):
        probabilities(cosines, [0, 0, 1], 50.0, synonyms="max")


@pytest.mark.parametrize("background, expected", [(None, 255), (1, 1)])
def test_uncertain_pixels_never_land_on_a_real_class(background, expected):
    scores = torch.tensor([[[0.9, 0.4]], [[0.1, 0.35]], [[0.0, 0.25]]])  # (K, H, W)
    assert label_map(scores, 0.5, background).tolist() == [[0, expected]]
    assert label_map(scores).tolist() == [[0, 0]]


def test_void_is_outside_the_classes():
    """With 300 classes, class 255 is a class like any other, and void is 65535."""
    scores = torch.zeros(300, 1, 3)
    scores[255, 0, 0] = scores[299, 0, 1] = 1
    assert label_map(scores, threshold=0.5).tolist() == [[255, 299, 65535]]
    assert label_map(scores[:255], threshold=0.5).tolist() == [[255, 255, 255]]


def test_the_area_rule_by_hand():
    labels = torch.tensor([0] * 50 + [1] * 91 + [2] * 9)  # 2 has 9 of 100 foreground pixels
    assert kept_classes(labels, 4, 0, 0.1) == [0, 1]
    assert kept_classes(labels, 4, 0, 0.05) == [0, 1, 2]
    assert kept_classes(labels, 4, None, 0.1) == [0, 1]  # without a background class all are foreground
    assert kept_classes(torch.zeros(5, dtype=torch.long), 2, 0, 0.1) == [0]
    mostly = torch.tensor(
        [0] * 900 + [1] * 91 + [2] * 9
    )  # the share is of the foreground, whatever the background
    assert kept_classes(mostly, 3, 0, 0.05) == [0, 1, 2]


# ------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize(
    "size, window, stride, expected",
    [
        ((512, 1024), (512, 512), (512, 512), [(0, 0, 512, 512), (0, 512, 512, 1024)]),
        ((10, 7), (4, 7), (3, 7), [(0, 0, 4, 7), (3, 0, 7, 7), (6, 0, 10, 7)]),
        ((3, 9), (4, 4), (4, 4), [(0, 0, 3, 4), (0, 4, 3, 8), (0, 5, 3, 9)]),
    ],
    ids=["cityscapes", "last moved back", "smaller than the window"],
)
def test_where_windows_lie(size, window, stride, expected):
    assert windows(size, window, stride) == expected


def test_overlaps_are_averaged_as_by_a_double_loop():
    """Every row and any band of the lazily rendered map is the mean of the windows' enlarged maps."""
    size, boxes = (10, 13), windows((10, 13), (4, 6), (3, 4))
    grids = [torch.rand(2, 2, 3) for _ in boxes]
    total, count = torch.zeros(2, *size), torch.zeros(size)
    for (top, left, bottom, right), grid in zip(boxes, grids):
        total[:, top:bottom, left:right] += sim.resize(grid[None], (bottom - top, right - left))[0]
        count[top:bottom, left:right] += 1
    scores = WindowScores(size, boxes, grids)
    np.testing.assert_allclose(render(scores, size).numpy(), (total / count).numpy(), atol=1e-6)
    for other in ((25, 30), (6, 5), (10, 4), (1, 1)):
        wanted = sim.resize((total / count)[None], other)[0]
        parts = [render(scores, other, range(r, min(r + 4, other[0]))) for r in range(0, other[0], 4)]
        np.testing.assert_allclose(torch.cat(parts, dim=1).numpy(), wanted.numpy(), atol=1e-5)


def test_cut_mirrored_and_resized_scores_are_those_of_the_whole_map():
    grid = torch.rand(2, 5, 7)
    scores = Resized(GridScores(grid), (20, 28))
    whole = sim.resize(grid[None], (20, 28))[0]
    cut = Cropped(scores, (3, 4, 17, 25))
    assert cut.size == (14, 21) and cut.texts == 2
    np.testing.assert_allclose(render(cut, cut.size), whole[:, 3:17, 4:25], atol=1e-5)
    for horizontal, vertical in ((True, False), (False, True), (True, True)):
        axes = [axis for axis, flip in ((1, vertical), (2, horizontal)) if flip]
        got = render(Flipped(cut, horizontal, vertical), cut.size, range(2, 9))
        np.testing.assert_allclose(got, whole[:, 3:17, 4:25].flip(axes)[:, 2:9], atol=1e-5)


@pytest.mark.parametrize("window, stride", [((4, 4), (5, 4)), ((0, 4), (1, 1)), ((4, 4), (0, 4))])
def test_gaps_between_windows_are_misuse(window, stride):
    with pytest.raises(UsageError, match="1 <= stride <= window"):
        windows((10, 10), window, stride)


@pytest.mark.parametrize("surgery", ["none", "empty", "label_set", "label_set_code"])
def test_recognition_of_many_texts_makes_nothing_of_their_size_for_an_image(surgery):
    """Thousands of texts: what is computed for an image is smaller than texts times channels."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            shared = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
            if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in shared:
                largest.append(out.numel())
            return out

    texts, channels = 5000, 64
    text, empty, token = torch.randn(texts, channels), torch.randn(1, channels), torch.randn(2, channels)
    score = recognizer(text, surgery, empty)
    with Sizes():
        found = score(token)
    assert found.shape == (2, texts) and largest and max(largest) == 2 * texts
