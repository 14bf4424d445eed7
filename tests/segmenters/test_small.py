"""The embedded segmenter: prompts of every form on pictures of any size, its file, and its training."""

from __future__ import annotations

import importlib

import cv2
import numpy as np
import pytest
import torch

from ovseg.clip import embedded
from ovseg.errors import UsageError, WeightsError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.metrics import mask_iou
from ovseg.segmenters import small
from ovseg.segmenters.load import load_segmenter
from ovseg.segmenters.prompts import Prompt
from ovseg.segmenters.small_modules import (
    MASKS,
    PROMPTS,
    SmallSegmenterNet,
    channels_of,
    prompt_maps,
    trunk_features,
)

TRUNK_MEANS = (4.462818, 8.016295, 7.256656, 1.719314, 0.030444529)
"""Mean size of the features that the decoder was trained on, of a ramp of pixels, from stride 2 to CLIP's places."""


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter("small")


@pytest.fixture(scope="module")
def training(import_tool):
    return import_tool("small_segmenter.training")


@pytest.fixture(scope="module")
def disk():
    """A red disk at (60, 50) on green with little noise, (image, mask)."""
    image = np.full((120, 160, 3), (40, 150, 60), np.uint8)
    cv2.circle(image, (60, 50), 24, (200, 40, 40), -1)
    mask = image[..., 0] == 200
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


# ------------------------------------------------------------------------------------------ the product


def test_every_kind_of_prompt_finds_the_disk(segmenter, disk):
    image, mask = disk
    embedding = segmenter.encode(image)
    rough = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 8)
    prompts = [
        Prompt(points=[(60, 50), (120, 100)], labels=[1, 0]),
        Prompt(box=(36, 26, 85, 75)),
        Prompt(mask=segmenter.prior(embedding, rough)),
        Prompt(points=[(60, 50)], box=(36, 26, 85, 75), mask=segmenter.prior(embedding, rough)),
    ]
    for found in segmenter.decode_many(embedding, prompts):
        assert found.masks.shape == (MASKS, 120, 160) and found.masks.dtype == bool
        assert found.scores.shape == (MASKS,) and ((found.scores > 0) & (found.scores < 1)).all()
        assert mask_iou(found.mask(found.best), mask) > 0.75
        again = segmenter.decode(embedding, points=[(60, 50)], mask=found.logits[found.best])
        assert mask_iou(again.mask(again.best), mask) > 0.75


def test_prompts_of_all_forms_are_decoded_together_as_they_are_alone(segmenter, disk):
    embedding = segmenter.encode(disk[0])
    prompts = [
        Prompt(points=[(30 + 5 * k, 40)], box=(10, 10, 90, 90) if k % 2 else None)
        for k in range(small.BATCH + 3)
    ]
    for one, found in zip(prompts, segmenter.decode_many(embedding, prompts), strict=True):
        alone = segmenter.decode_many(embedding, [one])[0]
        np.testing.assert_allclose(found.logits, alone.logits, atol=1e-3)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (700, 3), (16, 16), (97, 131), (600, 900)])
def test_images_of_any_size(segmenter, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    embedding = segmenter.encode(image)
    found = segmenter.decode(embedding, points=[(shape[1] - 0.5, shape[0] - 0.5)], box=(0, 0, *shape[::-1]))
    assert found.masks.shape == (MASKS, *shape) and np.isfinite(found.logits).all()
    assert found.at((5, 7)).shape == (MASKS, 5, 7)
    height, width = small.input_size(shape)
    assert max(height, width) == small.SIDE and height % 16 == width % 16 == 0


def test_a_map_comes_back_from_its_logits_at_any_resolution(segmenter, disk):
    embedding = segmenter.encode(disk[0])
    values = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    back = 1 / (1 + np.exp(-segmenter.prior(embedding, values)))
    small_again = cv2.resize(back, (16, 12), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(small_again, values, atol=0.02)
    assert np.isfinite(segmenter.prior(embedding, np.array([[0, 1]], np.float32))).all()


def test_a_rival_takes_away_what_is_its_own(segmenter, disk):
    """The map is high on both disks, the rival's on the second: less of the second is left."""
    image = np.ascontiguousarray(np.concatenate([disk[0], disk[0][:, ::-1]], axis=1))
    first = np.zeros(image.shape[:2], np.float32)
    first[:, :160] = disk[1]
    second = np.ascontiguousarray(first[:, ::-1])
    embedding = segmenter.encode(image)
    both, other = (
        segmenter.prior(embedding, cv2.GaussianBlur(u, (0, 0), 8)) for u in (first + second, second)
    )
    alone, apart = (segmenter.decode(embedding, mask=both, rival=rival) for rival in (None, other))
    share = [(found.masks[0] & (second > 0)).sum() / (second > 0).sum() for found in (alone, apart)]
    assert share[1] < share[0] and (apart.masks[0] & (first > 0)).any()


def test_an_embedding_of_other_weights_is_refused(segmenter, disk):
    other = load_segmenter("small", "random")
    with pytest.raises(UsageError, match="expected an embedding of small random, got one of small"):
        other.decode(segmenter.encode(disk[0]), points=[(60, 50)])


# ---------------------------------------------------------------------------------------- prompt maps


def test_prompt_maps_by_hand():
    points, labels = torch.tensor([[10.0, 6.0], [30.0, 22.0]]), torch.tensor([1, 0])
    prior, rival = torch.full((8, 16), 0.75), torch.full((4, 8), 0.25)
    found = prompt_maps(points, labels, torch.tensor([8.0, 4.0, 22.0, 32.0]), prior, rival, (32, 64))
    assert found.shape == (PROMPTS, 8, 16)
    assert found[0, 1, 2] == 1 and found[1, 5, 7] == 1  # the cells that hold the points
    assert found[0, 5, 7] == 0 and found[1, 1, 2] == 0
    assert found[2, 0].sum() == 0 and found[2, 1:, 2:5].min() == 1 and found[2, 1, 5] == 0.5
    assert torch.equal(found[3], 1 - found[2])
    assert (found[4] == 0.5).all() and (found[5] == 1).all() and (found[6] == 0.25).all()
    nothing = prompt_maps(points[:0], labels[:0], None, None, None, (32, 64))
    assert not nothing.any()


def test_what_no_prompt_marks_is_like_nothing(segmenter, disk):
    """No prototype without a place: the maps of "beside" stay 0 and not NaN."""
    embedding = segmenter.encode(disk[0])
    found = segmenter.decode(embedding, mask=np.full((4, 4), -20.0))
    assert np.isfinite(found.logits).all() and np.isfinite(found.scores).all()


# ------------------------------------------------------------------------------------------- its file


def test_the_trunk_is_the_one_that_the_decoder_was_trained_on():
    """Another trunk under the same decoder would give masks that are silently worse."""
    tower = embedded.load_trunk()
    whole = embedded.load("small").visual.state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in tower.state_dict().items())
    pixels = torch.linspace(-1, 1, 3 * 32 * 48).reshape(1, 3, 32, 48)
    with torch.no_grad():
        found = trunk_features(tower, pixels)
        torch.testing.assert_close(found.places, tower.places(pixels))
    means = [getattr(found, name).abs().mean().item() for name in ("f2", "f4", "f8", "f16", "places")]
    np.testing.assert_allclose(means, TRUNK_MEANS, rtol=1e-4)


def test_what_is_saved_comes_back_up_to_eight_bits(tmp_path):
    torch.manual_seed(0)
    net = SmallSegmenterNet(channels_of(embedded.load_trunk()))
    small.save(net, tmp_path / "net.safetensors")
    loaded = load_segmenter("small", tmp_path / "net.safetensors").net
    for key, value in net.state_dict().items():
        step = float(value.abs().max()) / 127 if value.ndim > 1 else 0
        torch.testing.assert_close(loaded.state_dict()[key], value, atol=step, rtol=1e-3)


def test_a_file_of_another_kind_is_one_line(tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    for name, message in (
        ("none.safetensors", "does not exist"),
        ("text.safetensors", "is a text file"),
        ("other.pt", "weights of the embedded segmenter, .*other.pt does not fit: Missing key"),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            load_segmenter("small", tmp_path / name)
        assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------- its training


@pytest.fixture(scope="module")
def picture(training):
    """A scene with the maps of its words, as blurred truth."""
    scene = make_scene(5, (128, 160))
    there = [int(k) for k in np.unique(scene.labels)]
    names = {k + 1: f"word {k}" for k in there}
    maps = {
        name: cv2.resize((scene.labels == k - 1).astype(np.float32), (20, 16), interpolation=cv2.INTER_AREA)
        for k, name in names.items()
    }
    return training.Picture("scenes/5", scene.image, (scene.labels + 1).astype(np.uint16), names, maps=maps)


def test_a_crop_of_a_map_lies_on_the_crop(training, picture):
    pictures = importlib.import_module("small_segmenter.pictures")
    rng = np.random.default_rng(0)
    for _ in range(10):
        crop = pictures.draw_crop(picture, 64, rng)
        label = int(np.bincount(crop.labels[crop.inside]).argmax())
        sharp = crop.of_map((picture.labels == label).astype(np.float32), 0.0) > 0.5
        assert mask_iou(sharp, (crop.labels == label) & crop.inside) > 0.9
        y, x = np.argwhere(picture.labels == label).mean(axis=0)
        (place,) = crop.of_points(np.array([[x, y]], np.float32))
        back = place[0] if not crop.mirrored else 64 - place[0]
        assert back * crop.side / 64 + crop.corner[0] == pytest.approx(x, abs=1e-3)


def test_every_kind_of_example_has_a_target_that_its_prompt_marks(training, picture):
    prompts = importlib.import_module("small_segmenter.prompts")
    pictures = importlib.import_module("small_segmenter.pictures")
    rng = np.random.default_rng(1)
    kinds, clicked = set(), 0
    for _ in range(150):
        crop = pictures.draw_crop(picture, 64, rng)
        one = prompts.draw_example(crop, rng)
        if one is None:
            continue
        kinds.add(one.kind)
        assert one.target.any() and one.maps().shape == (PROMPTS, 16, 16)
        if one.kind in ("click", "clicks", "box and clicks", "simulated"):
            for (x, y), label in zip(one.points, one.labels, strict=True):
                assert one.target[int(y), int(x)] == label
        if one.box is not None:
            y, x = np.argwhere(one.target).mean(axis=0)
            assert one.box[0] <= x <= one.box[2] and one.box[1] <= y <= one.box[3]
        again = prompts.corrected(one, np.zeros(one.target.shape, np.float32), crop.labels, rng)
        if len(again.points) > len(one.points):  # what is thin has no place for a click
            clicked += 1
            assert again.labels[-1] == 1 and one.target[int(again.points[-1][1]), int(again.points[-1][0])]
    assert clicked > 50
    assert kinds == {*prompts.KINDS, "simulated"}


def test_training_goes_on_from_its_checkpoint(training, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SIZES", ((1.0, training.Sizes(64, 1, 2)),))
    monkeypatch.setattr(training, "SHARES", {"scenes": 1.0})
    tower = embedded.load_trunk().requires_grad_(False)
    file = tmp_path / "segmenter.pt"
    first = training.Trainer(tower, {"scenes": [picture]}, 60, 1e-3, file, 0)
    before = {key: value.clone() for key, value in first.net.state_dict().items()}
    batch = first._draw(training.Sizes(64, 1, 2))
    chances = first._learn(batch)
    assert chances.shape == (2, 32, 32)
    assert any(not torch.equal(value, before[key]) for key, value in first.net.state_dict().items())
    first.step = 7
    first.save()
    second = training.Trainer(tower, {"scenes": [picture]}, 60, 1e-3, file, 0)
    assert second.step == 7 and second.before > 0
    for key, value in first.average.state_dict().items():
        assert torch.equal(second.average.state_dict()[key], value)
