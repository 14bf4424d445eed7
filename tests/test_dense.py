"""The engine: order, batches, bounded waiting, windows, and label maps in bands."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ovseg.maps.scores
import ovseg.model.engine
from ovseg.maps.scores import GridScores, WindowScores
from ovseg.model.engine import classify, on_token_grid, stream
from ovseg.model.inputs import whole_patches
from ovseg.options import InputOptions, SegmentOptions
from ovseg.results.base import ImageTokens
from ovseg.words.vocabulary import Vocabulary


class MeanColours:
    """An encoder whose tokens are the mean colours of patches of 4x4, and which counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def encode_image(self, pixels: torch.Tensor) -> ImageTokens:
        self.calls.append(tuple(pixels.shape))
        grid = torch.nn.functional.avg_pool2d(pixels, 4)
        return ImageTokens(grid.flatten(2).transpose(1, 2), pixels.mean((2, 3)), tuple(grid.shape[2:]))


def pictures(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [(index, torch.rand(3, *shape, generator=generator)) for index, shape in enumerate(shapes)]


def patches(tokens: ImageTokens) -> torch.Tensor:
    return tokens.patches


def test_results_come_in_order_and_images_of_one_size_share_calls():
    encoder, images = MeanColours(), pictures((8, 8), (8, 12), (8, 8), (8, 8), (8, 12))
    found = list(stream(encoder.encode_image, (4, 4), images, patches, InputOptions(batch=2)))
    assert [dense.key for dense in found] == [0, 1, 2, 3, 4]
    assert sorted(encoder.calls) == [(1, 3, 8, 8), (2, 3, 8, 8), (2, 3, 8, 12)]
    for (_, pixels), dense in zip(images, found):
        torch.testing.assert_close(dense.scores.grid, torch.nn.functional.avg_pool2d(pixels, 4))


def test_each_result_is_handed_out_as_soon_as_it_is_there():
    taken = []

    def source():
        for key, pixels in pictures(*[(8, 8)] * 6):
            taken.append(key)
            yield key, pixels

    found = stream(MeanColours().encode_image, (4, 4), source(), patches, InputOptions(batch=2))
    assert next(found).key == 0 and taken == [0, 1]
    assert next(found).key == 1 and taken == [0, 1]
    assert next(found).key == 2 and taken == [0, 1, 2, 3]


def test_waiting_is_bounded_whatever_the_number_of_images(monkeypatch):
    """Sizes that never fill a batch may not pile up: at most WAITING_PIXELS are held."""
    monkeypatch.setattr(ovseg.model.engine, "WAITING_PIXELS", 400)
    ahead, most = 0, 0

    def source():
        nonlocal ahead, most
        for index in range(200):
            ahead += 1
            most = max(most, ahead)
            yield index, torch.zeros(3, 4 * (1 + index % 5), 8)

    for dense in stream(MeanColours().encode_image, (4, 4), source(), patches, InputOptions(batch=50)):
        ahead -= 1
        assert dense.key >= 0
    assert ahead == 0 and most <= 400 // 32 + 2


def test_a_rare_size_at_the_head_holds_nothing_back(monkeypatch):
    """The line is bounded, not only what is not yet encoded: a rare size comes first and fills no batch."""
    monkeypatch.setattr(ovseg.model.engine, "WAITING_PIXELS", 640)
    taken = 0

    def source():
        nonlocal taken
        for index in range(300):
            taken += 1
            yield index, torch.zeros(3, 8, 12 if index == 0 else 8)

    found = stream(MeanColours().encode_image, (4, 4), source(), patches, InputOptions(batch=4))
    first = next(found)
    assert first.key == 0 and taken <= 640 // 64 + 1
    assert [dense.key for dense in found] == list(range(1, 300))


def test_a_result_does_not_keep_its_batch_alive():
    found = list(
        stream(MeanColours().encode_image, (4, 4), pictures(*[(8, 8)] * 4), patches, InputOptions(batch=4))
    )
    assert len(found) == 4
    for dense in found:
        assert dense.scores.grid.untyped_storage().nbytes() == 3 * 4 * 4


def test_windows_of_several_images_share_calls_and_overlaps_are_averaged():
    encoder, images = MeanColours(), pictures((8, 12), (8, 8))
    found = list(
        stream(encoder.encode_image, (4, 4), images, patches, InputOptions(window=8, stride=4, batch=8))
    )
    assert encoder.calls == [(3, 3, 8, 8)]  # two windows of the first image, one of the second
    whole = torch.nn.functional.avg_pool2d(images[0][1], 4)
    assert isinstance(found[0].scores, WindowScores) and len(found[0].class_tokens) == 2
    torch.testing.assert_close(on_token_grid(found[0], (4, 4)), whole)


def test_windows_between_patches_are_interpolated():
    found = list(
        stream(
            MeanColours().encode_image, (4, 4), pictures((9, 13)), patches, InputOptions(window=8, stride=8)
        )
    )
    grid = on_token_grid(found[0], (4, 4))
    assert grid.shape == (3, 2, 3) and torch.isfinite(grid).all()


def test_crops_of_broken_patches_are_stretched_to_whole_ones():
    encoder = MeanColours()
    (found,) = stream(encoder.encode_image, (4, 4), pictures((7, 13)), patches, InputOptions())
    assert encoder.calls == [(1, 3, 8, 12)] and found.size == (7, 13)
    assert whole_patches((1, 1), (4, 4)) == (4, 4)


# ------------------------------------------------------------------------------------------ labels


def two_classes(second="b"):
    return Vocabulary(("a", second), (("a", "aa"), ("b",)))


def test_labels_by_hand_in_bands_and_whole(monkeypatch):
    grid = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1)) * 0.1
    options = SegmentOptions(logit_scale=20.0)
    maps = torch.nn.functional.interpolate(grid[None], (31, 17), mode="bilinear")[0]
    chances = (20 * maps).softmax(0)
    wanted = torch.stack([chances[:2].amax(0), chances[2]])
    labels, kept = classify(GridScores(grid), (31, 17), two_classes(), options, keep=True)
    torch.testing.assert_close(kept, wanted, atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(ovseg.maps.scores, "BAND_VALUES", 17 * 3 * 2)
    banded, none = classify(GridScores(grid), (31, 17), two_classes(), options)
    assert none is None and torch.equal(banded, labels)


def test_the_area_rule_takes_small_classes_away():
    """One pixel of class b among a's is given to the next best class, or to the background."""
    grid = torch.zeros(3, 10, 10)
    grid[0], grid[2, 0, 0] = 0.5, 0.9
    labels, _ = classify(GridScores(grid), (10, 10), two_classes(), SegmentOptions())
    assert labels[0, 0] == 1
    labels, _ = classify(GridScores(grid), (10, 10), two_classes(), SegmentOptions(area_threshold=0.1))
    assert (labels == 0).all()
    labels, _ = classify(GridScores(grid), (10, 10), two_classes(), SegmentOptions(area_threshold=1.0))
    assert (labels == 255).all()  # no class covers more than all, and there is no background


def test_uncertain_pixels_go_to_the_background_or_to_void():
    grid = torch.zeros(3, 2, 2)
    for second, expected in (("b", 255), ("background", 1)):
        options = SegmentOptions(background_threshold=0.9)
        labels, _ = classify(GridScores(grid), (4, 4), two_classes(second), options)
        assert (labels == expected).all()


@pytest.mark.parametrize("texts, side", [(150, 1536), (300, 700)])
def test_memory_for_a_label_map_of_windows_is_bounded(texts, side):
    """All classes at all pixels would be 1.4 GB for 150 classes at 1,536 px; bands hold 64 MB of scores."""
    count = 4
    step = side // count
    boxes = [(y, x, y + step, x + step) for y in range(0, side, step) for x in range(0, side, step)]
    boxes = [box for box in boxes if box[2] <= side and box[3] <= side]
    grids = [torch.zeros(texts, 14, 14) for _ in boxes]
    names = tuple(map(str, range(texts)))
    scores = WindowScores((step * count, step * count), boxes, grids)
    with torch.profiler.profile(
        profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
    ) as profile:
        labels, _ = classify(
            scores, (side, side), Vocabulary(names, tuple((name,) for name in names)), SegmentOptions()
        )
    assert labels.shape == (side, side)
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert 0 < largest <= 3 * 4 * ovseg.maps.scores.BAND_VALUES < 4 * texts * side * side
    assert not math.isnan(largest) and np.isfinite(labels.numpy()).all()
