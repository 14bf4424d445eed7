"""The embedded SAM's file, and the parts of its training that have an answer to compare with."""

from __future__ import annotations

import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ovseg.errors import WeightsError
from ovseg.evaluation.data.scenes import make_scene
from ovseg.metrics import mask_iou
from ovseg.segmenters import tiny
from ovseg.segmenters.load import load_segmenter

SMALL = tiny.Shape(side=64, patch=8, width=32, depth=2, heads=2, channels=32)


@pytest.fixture(scope="module")
def training(import_tool):
    return import_tool("train_tiny_sam")


@pytest.fixture(scope="module")
def data(import_tool):
    return import_tool("tiny_sam_data")


def test_what_is_saved_comes_back_and_answers_alike(tmp_path):
    torch.manual_seed(0)
    sam = tiny.build(SMALL)
    sam.half().float()  # the file holds half precision
    tiny.save(sam, SMALL, tmp_path / "small.safetensors")
    loaded = load_segmenter("tiny", weights=tmp_path / "small.safetensors")
    for key, value in sam.state_dict().items():
        assert torch.equal(loaded.sam.state_dict()[key], value), key
    image = make_scene(0, (40, 64)).image
    found = loaded.decode(loaded.encode(image), points=[(20, 10)])
    assert found.masks.shape == (3, 40, 64) and found.logits.shape == (3, 32, 32)


def test_files_that_are_none_of_its_kind(tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    save_file(
        {"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"config": json.dumps(asdict(SMALL))}
    )
    for name, message in (
        ("none.safetensors", "does not exist"),
        ("text.safetensors", "is a text file"),
        ("bare.safetensors", "no config in its metadata"),
        ("other.safetensors", "does not fit"),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            load_segmenter("tiny", weights=tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_training_decodes_as_the_package_does(training):
    torch.manual_seed(1)
    training.check(tiny.build(SMALL))  # raises where they differ


def test_loss_and_iou_of_masks_by_hand(training):
    logits = torch.full((1, 1, 4, 4), -20.0)
    logits[..., :2] = 20  # the left half
    target = torch.zeros(1, 1, 4, 4)
    target[..., :3] = 1  # three quarters
    known = torch.ones(1, 1, 4, 4)
    known[..., 3, :] = 0  # the last row is unknown: 6 and 9 of 12 pixels remain
    error, real = training.losses(logits, target, known)
    assert real.item() == pytest.approx(6 / 9)
    entropy, dice = 20 * 3 / 12, 1 - (2 * 6 + 1) / (6 + 9 + 1)
    assert error.item() == pytest.approx(entropy + dice, abs=1e-4)


def test_crops_and_prompts_lie_where_they_should(data):
    rng = np.random.default_rng(0)
    pictures = data.read_scenes(5, 6)
    seen = 0
    for _ in range(20):
        crop = pictures.crop(rng, 64, 3)
        assert crop.pixels.shape == (3, 64, 64) and crop.masks.shape == (3, 64, 64)
        assert (crop.pixels[:, ~crop.inside] == 0).all() and (crop.masks[:, ~crop.inside] == 255).all()
        points, labels = data.clicks(crop.masks, rng, 2, 2)
        for mask, places, kinds in zip(crop.masks, points.numpy(), labels.numpy()):
            for (x, y), kind in zip(places, kinds):
                if kind >= 0:
                    assert mask[int(y), int(x)] == kind
                    seen += 1
        coarse = data.coarse_maps(crop.masks, rng, 32)
        assert coarse.shape == (3, 1, 32, 32) and coarse.abs().max() <= 10
        for mask, box in zip(crop.masks, data.boxes(crop.masks, rng).numpy()):
            if (mask == 1).any():
                y, x = np.argwhere(mask == 1).mean(0)
                assert box[0] <= x <= box[2] and box[1] <= y <= box[3]
    assert seen > 150


def test_the_shipped_weights_follow_a_coarse_map_and_clicks():
    """On scenes that training never drew: a blurred map of a shape as first mask, and clicks alone."""
    segmenter = load_segmenter("tiny")
    from_map, from_clicks = [], []
    for seed in range(20):
        scene = make_scene(seed, (96, 128))
        for k in np.unique(scene.labels[scene.labels >= 6]):
            truth = scene.labels == k
            embedding = segmenter.encode(scene.image)
            rough = cv2.GaussianBlur(cv2.resize(truth.astype(np.float32), (16, 12)), (0, 0), 0.7)
            y, x = np.argwhere(cv2.erode(truth.astype(np.uint8), np.ones((5, 5))) > 0).mean(0).astype(int)
            if not truth[y, x]:
                continue  # a ring's middle is no part of it
            found = segmenter.decode(embedding, points=[(x, y)], mask=segmenter.prior(embedding, rough))
            from_map.append(mask_iou(found.masks[found.scores.argmax()], truth))
            found = segmenter.decode(embedding, points=[(x, y), (2, 2)], labels=[1, int(truth[2, 2])])
            from_clicks.append(max(mask_iou(mask, truth) for mask in found.masks))
    assert len(from_map) > 25
    assert np.mean(from_map) > 0.7  # the whole picture as a mask would score about 0.1
    assert np.mean(from_clicks) > 0.5
