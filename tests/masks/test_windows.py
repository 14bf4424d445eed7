"""Objects of a few pixels: found with windows, and not without."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ovseg.evaluation.data.scenes import COLOURS, make_scene
from ovseg.maps.recognition import level, presences
from ovseg.masks import TextToMask
from ovseg.masks.encoded import rate
from ovseg.segmenters.load import load_segmenter

SIZE = {"size": (600, 900), "window": 160, "stride": 160}


def small_object(seed: int, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A red circle of 10 pixels on a texture of 300 x 200, (image, mask)."""
    image = make_scene(seed, (200, 300), things=0).image.copy()
    mask = np.zeros((200, 300), np.uint8)
    cv2.circle(mask, place, 5, 1, -1)
    image[mask > 0] = COLOURS["red"]
    return image, mask > 0


@pytest.mark.parametrize("name", ["grabcut", "tiny"])
@pytest.mark.parametrize(("seed", "place"), [(3, (205, 46)), (5, (100, 125))])
def test_an_object_of_ten_pixels_is_found_with_windows(model, name, seed, place):
    image, mask = small_object(seed, place)
    segmenter = load_segmenter(name)
    assert len(TextToMask(model, segmenter).predict(image, "red circle")) == 0
    found = TextToMask(model, segmenter, **SIZE).predict(image, "red circle")
    assert found.presence["red circle"] > 0.5 and found.masks.shape == (1, 200, 300)
    assert (found.union & mask).sum() / (found.union | mask).sum() > 0.7
    x, y = found.points[0].positives[0]  # in pixels of the image, not of the crop that the segmenter saw
    assert np.hypot(x - place[0], y - place[1]) < 6


def test_presence_with_windows_is_that_of_the_best_window(model):
    image, _ = small_object(3, (205, 46))
    t2m = TextToMask(model, load_segmenter("grabcut"), **SIZE)
    encoded = t2m.session(image)._encoded
    assert len(encoded.features.class_tokens) == 24
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
