"""A caption token by token: features, the marked tokens, the map, misuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from torch.nn import functional as F

import ovseg
from ovseg.clip.text_tower import token_features
from ovseg.errors import UnsupportedModelError, UsageError
from ovseg.explanation import explain, explain_tokens

CAPTION = "a red triangle, on gravel"


@pytest.fixture(scope="module")
def image():
    return ovseg.make_scene(11, (64, 96)).image


def test_tokens_are_the_tokenizers_and_the_end_has_the_texts_feature(model):
    tokens, features = token_features(model.clip, model.loaded.tokenizer, CAPTION)
    assert tokens == ("[start]", "a", "red", "triangle", ",", "on", "gravel", "[end]")
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(8))
    text = model.encode_text([CAPTION], "plain")[0]
    torch.testing.assert_close(features[-1], text, rtol=0, atol=1e-6)


def test_each_token_is_projected_as_the_end_token_is(model):
    """By hand: the whole text tower at full length, every position through the final norm and projection."""
    clip = model.clip
    ids = model.loaded.tokenizer([CAPTION])
    with torch.no_grad():
        x = clip.token_embedding(ids) + clip.positional_embedding
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask)) @ clip.text_projection
        wanted = F.normalize(x[0, :8], dim=-1)
    _, found = token_features(clip, model.loaded.tokenizer, CAPTION)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_pieces_of_words_and_other_scripts(model):
    tokens, features = token_features(model.clip, model.loaded.tokenizer, "a skateboarder, naïve 木")
    assert tokens[:4] == ("[start]", "a", "skate-", "boarder") and len(tokens) == len(features)
    assert "".join(tokens[5:7]).replace("-", "").startswith("na")


def test_scores_are_cosines_with_the_images_own_feature(model, image):
    found = explain_tokens(model, image, CAPTION, size=(48, 64))
    pixels = model.preprocess([image], (48, 64))
    token = F.normalize(model.encode_image(pixels, patches=False).class_token[0], dim=-1)
    _, features = token_features(model.clip, model.loaded.tokenizer, CAPTION)
    np.testing.assert_allclose(found.cosines, (features @ token).numpy(), atol=1e-5)
    best = found.best(3)
    assert best == sorted(range(8), key=lambda i: -found.cosines[i])[:3] and len(found.best(99)) == 8
    with pytest.raises(ValueError, match="read-only"):
        found.cosines[0] = 1


@pytest.mark.parametrize("method", ["clip_surgery", "bimodal"])
def test_the_map_is_that_of_the_whole_caption(model, image, method):
    found = explain_tokens(model, image, CAPTION, method, size=(48, 64)).map
    wanted = explain(model, image, [CAPTION], method, templates="plain", size=(48, 64))
    np.testing.assert_allclose(found.grid, wanted.grid, atol=1e-6)
    if method == "clip_surgery":  # the paper: empty-string surgery, here without templates
        similar = model.similarity(image, [CAPTION], surgery="empty", templates="plain", size=(48, 64))
        np.testing.assert_allclose(found.grid, similar.grid, atol=1e-6)


def test_a_tower_without_features_of_tokens_says_so(model):
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
    clip = CLIP(24, vision, {**text, "no_causal_mask": True})
    with pytest.raises(UnsupportedModelError, match="expected a causal text tower"):
        token_features(clip, model.loaded.tokenizer, "a")


@pytest.mark.parametrize(
    "caption, said",
    [
        ("a " * 76, "at most 77 tokens"),
        ("", "visible character"),
        (" ", "visible character"),
        (3, "as a text"),
    ],
)
def test_misuse_is_one_line(model, image, caption, said):
    with pytest.raises(UsageError, match=said) as caught:
        explain_tokens(model, image, caption)
    assert "\n" not in str(caught.value)
