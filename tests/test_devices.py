"""The core as on another device: tensors that refuse NumPy, and torch's meta device."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ovseg
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.recognition import recognizer
from ovseg.maps.scores import Cropped, Flipped, Resized, render
from ovseg.maps.similarity import apply_surgery, place_features
from ovseg.model.engine import classify, on_token_grid, stream
from ovseg.options import SegmentOptions
from ovseg.words.vocabulary import as_vocabulary

spec = importlib.util.spec_from_file_location("foreign", Path(__file__).parent / "foreign.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
foreign = module.foreign

IMAGE = ovseg.make_scene(3, (64, 96)).image
METHODS = ("clip_surgery", "sclip", "segearth", "gem")
SURGERIES = ("empty", "label_set", "label_set_code", "none")


class Elsewhere(ovseg.Model):
    """A model whose features are on a device of which NumPy knows nothing."""

    def encode_image(self, pixels, **options):
        found = super().encode_image(pixels, **options)
        bias = None if found.bias_token is None else foreign(found.bias_token)
        return replace(
            found, patches=foreign(found.patches), class_token=foreign(found.class_token), bias_token=bias
        )

    def encode_text(self, *args, **options):
        return foreign(super().encode_text(*args, **options))


@pytest.fixture(params=METHODS)
def pair(request, model):
    """The model, and the same model elsewhere."""
    here = model.with_method(request.param)
    there = Elsewhere(here.loaded, here.method)
    there._text = here._text  # texts encoded in another batch differ in their last digits
    return here, there


def test_features_on_another_device_give_the_same_results(pair):
    here, there = pair
    words = {"ground": ["stripes", "gravel"], "thing": "red circle", "background": "waves"}
    for options in ({}, {"window": 32, "stride": 16, "area_threshold": 0.1, "background_threshold": 0.3}):
        wanted, found = (one.segment(IMAGE, words, probabilities=True, **options) for one in pair)
        assert found == wanted
        np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-6)
    for surgery in SURGERIES:
        assert there.similarity(IMAGE, words, surgery=surgery, window=32) == here.similarity(
            IMAGE, words, surgery=surgery, window=32
        )
        for scores in ("similarity", "softmax"):
            asked = {"surgery": surgery, "scores": scores}
            assert there.recognize(IMAGE, words, **asked) == here.recognize(IMAGE, words, **asked)


@pytest.mark.parametrize(
    "options", [{"window": 32, "stride": 16}, {"point_rule": "paper", "halve_grid": True}], ids=str
)
def test_masks_from_features_on_another_device(pair, options):
    here, there = (ovseg.TextToMask(one, presence_threshold=0, **options) for one in pair)
    texts = "stripes+gravel, red circle"
    assert here.predict_texts(IMAGE, texts) == there.predict_texts(IMAGE, texts)


@pytest.fixture(scope="module")
def on_meta():
    """A model whose image tower has no values: every operation still checks that devices agree."""
    model = ovseg.load_model("tiny", cache=False)
    model.clip.visual.to("meta")
    return model


@pytest.mark.parametrize("name", ovseg.list_methods())
def test_every_method_stays_on_its_device(on_meta, name):
    model = on_meta.with_method(name)
    words = as_vocabulary({"background": "sky", "a": ["b", "c"], "d": "e"})
    text = torch.zeros(len(words.flat), 128, device="meta")
    empty = text[:1]
    images = [((40, 60), torch.zeros(3, 64, 96, device="meta"))] * 2
    for options in (
        SegmentOptions(),
        SegmentOptions(window=64, stride=32),
        SegmentOptions(background_threshold=0.3, synonyms="cosine"),
    ):
        for dense in stream(
            model.encode_image, model.patch_size, iter(images), model.cosine_scores(text), options
        ):
            labels, kept = classify(dense.scores, dense.key, words, options, keep=True)
            turned = Flipped(Cropped(Resized(dense.scores, (64, 96)), (0, 0, 60, 90)), True, True)
            parts = (labels, kept, render(turned, (30, 50)), on_token_grid(dense, model.patch_size))
            assert all(part.device.type == "meta" for part in (*parts, dense.class_tokens))
    tokens = model.encode_image(torch.zeros(2, 3, 64, 96))
    features = place_features(tokens, model.method.class_token_weight)
    for surgery in SURGERIES:
        assert apply_surgery(features, tokens.class_token, text, surgery, empty).device.type == "meta"
        assert recognizer(text, surgery, empty)(tokens.class_token).device.type == "meta"
    assert merge_synonyms(torch.zeros(4, 3, 3, device="meta"), words.owners).shape == (3, 3, 3)
    assert model.preprocess([np.zeros((5, 5, 3), np.uint8)], (64, 96)).device.type == "meta"
