"""Objects of a few pixels: found with windows, and not without."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from ovseg.evaluation.data.scenes import COLOURS, make_scene
from ovseg.maps.presence import level, presences
from ovseg.masks import TextToMask
from ovseg.masks.words import rate
from ovseg.segmenters.load import load_segmenter

SIZE = {"size": (1200, 1800), "window": 160, "stride": 160}


def small_object(seed: int, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A red circle of 10 pixels on a texture of 600 x 400, (image, mask)."""
    image = make_scene(seed, (400, 600), things=0).image.copy()
    mask = np.zeros((400, 600), np.uint8)
    cv2.circle(mask, place, 5, 1, -1)
    image[mask > 0] = COLOURS["red"]
    return image, mask > 0


@pytest.mark.parametrize("name", ["grabcut", "tiny"])
@pytest.mark.parametrize(("seed", "place"), [(1, (200, 250)), (5, (410, 93))])
def test_an_object_of_ten_pixels_is_found_with_windows(model, name, seed, place):
    image, mask = small_object(seed, place)
    segmenter = load_segmenter(name)
    assert len(TextToMask(model, segmenter).predict(image, "red circle")) == 0
    found = TextToMask(model, segmenter, **SIZE).predict(image, "red circle")
    assert found.presence["red circle"] > 0.5 and found.masks.shape == (1, 400, 600)
    assert (found.union & mask).sum() / (found.union | mask).sum() > 0.7
    x, y = found.points[0].positives[0]  # in pixels of the image, not of the crop that the segmenter saw
    assert np.hypot(x - place[0], y - place[1]) < 6


def test_presence_with_windows_is_that_of_the_best_window(model):
    image, _ = small_object(3, (410, 93))
    t2m = TextToMask(model, load_segmenter("grabcut"), **SIZE)
    encoded = t2m.session(image)._encoded
    assert len(encoded.features.class_tokens) == 96 and encoded.features.grid == (150, 225)
    (rated,) = rate(t2m._setup, t2m.ask("red circle"), encoded.features)
    names = ["red circle", *t2m.options.rivals]
    directions = (model.encode_text(names) - model.encode_text([""])).numpy().T
    places = encoded.features.places.numpy() @ directions
    tokens = encoded.features.class_tokens.numpy() @ directions
    scale = model.logit_scale
    levels = level(places[:, 1:], scale), level(tokens[:, 1:], scale)
    each = [
        presences(places[:, :1], token[None, :1], levels[0], rivals[None], scale)[0]
        for token, rivals in zip(tokens, levels[1], strict=True)
    ]
    assert (
        rated.presence["red circle"] == pytest.approx(max(each), abs=1e-4)
        and max(each) > np.median(each) + 0.05
    )


def test_a_model_of_the_sigmoid_loss_says_itself_how_likely_a_text_is(model, monkeypatch):
    """SigLIP: σ(scale · cos + bias) of the best window's class token."""
    image, _ = small_object(3, (410, 93))
    bias = torch.tensor(-2.5)
    monkeypatch.setattr(model.clip, "logit_bias", bias, raising=False)
    t2m = TextToMask(model, load_segmenter("grabcut"), size=160)
    found = t2m.predict(image, "red circle")
    tokens = t2m.session(image)._encoded.features.class_tokens
    text = model.encode_text(["red circle"], "paper")[0]
    wanted = torch.sigmoid(model.logit_scale * (tokens @ text).max() + bias)
    assert found.presence["red circle"] == pytest.approx(float(wanted), abs=1e-5)
    assert len(found) == 0 or found.presence["red circle"] >= 0.5
