"""Whole models around the towers of every family: methods by name, images of any size."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from small_towers import CELLS, TEXT, TIMM, tower

from ovseg.clip.attention import METHODS, get_method
from ovseg.clip.build import build_clip, check_tower
from ovseg.clip.encoder import encode_image
from ovseg.clip.loaded import LoadedClip
from ovseg.errors import UnsupportedModelError
from ovseg.model import Model


def model(family: str, method: str) -> Model:
    """A small model with the tower of a family and an untrained text tower."""
    torch.manual_seed(0)
    text = {**TEXT, "context_length": 77, "vocab_size": 49408}
    vision = {"layers": 1, "width": 64, "patch_size": 16, "image_size": 32}
    options = {"init_logit_bias": -10.0} if family == "siglip" else {}
    dimension = 128 if family == "siglip" else 48  # SigLIP's pooling is its projection
    clip: Any = open_clip.CustomTextCLIP(dimension, vision, text, **options).eval().requires_grad_(False)
    clip.visual = tower(family)
    half = (0.5, 0.5, 0.5)
    loaded = LoadedClip(clip, open_clip.SimpleTokenizer(), family, half, half, 64)
    return Model(loaded, get_method(method))


@pytest.mark.parametrize("family", ["clip", "clipa", "coca", *TIMM])
@pytest.mark.parametrize("name", ["clip_surgery", "segearth"])
def test_every_family_segments_and_recognizes(family: str, name: str) -> None:
    found = model(family, name)
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    assert found.segment(image, "sky, grass").array.shape == (50, 70)
    assert np.isfinite(found.similarity(image, "sky, grass").grid).all()
    assert found.recognize(image, "sky, grass").scores.shape == (2,)


@pytest.mark.parametrize("family", CELLS)
def test_towers_of_cells_segment_with_clip_and_refuse_surgery(family: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    found = model(family, "clip")
    labels = found.segment(image, "sky, grass").array
    assert labels.shape == (50, 70)
    assert (found.with_method("maskclip").segment(image, "sky, grass").array == labels).all()
    for name in set(METHODS) - {"clip", "maskclip"}:
        with pytest.raises(UnsupportedModelError, match="expected method 'clip' or 'maskclip'"):
            model(family, name)
        with pytest.raises(UnsupportedModelError, match="expected method 'clip' or 'maskclip'"):
            found.with_method(name)


def test_timms_own_weights_are_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config may ask for them, though the weights of the whole model replace them at once."""
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: pytest.fail("timm fetches"))
    vision = {"timm_model_name": "test_convnext", "timm_model_pretrained": True, "image_size": 64}
    config = {
        "embed_dim": 16,
        "vision_cfg": {**vision, "timm_pool": "avg", "timm_proj": "linear"},
        "text_cfg": TEXT,
    }
    assert check_tower(config, "a model").patch_size == (32, 32)
    assert build_clip(config, "a model").visual.trunk is not None
    assert vision["timm_model_pretrained"]


@pytest.mark.parametrize("family", [*TIMM, *CELLS, "clipa", "coca"])
def test_bf16_is_close_in_every_family(family: str) -> None:
    x = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    half = copy.deepcopy(tower(family)).to(torch.bfloat16)
    method = METHODS["clip" if family in CELLS else "clip_surgery"]
    found, wanted = encode_image(half, x, method), encode_image(tower(family), x, method)
    assert found.patches.dtype == found.class_token.dtype == torch.float32
    for a, b in ((found.patches, wanted.patches), (found.class_token, wanted.class_token)):
        assert torch.cosine_similarity(a, b, dim=-1).min() > 0.998


@pytest.mark.parametrize("family", ["siglip", "eva02", "convnext"])
def test_other_towers_compile_without_a_graph_break(family: str) -> None:
    x = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    method = METHODS["clip" if family in CELLS else "clip_surgery"]
    found = torch.compile(encode_image, backend="eager", fullgraph=True)(tower(family), x, method)
    torch.testing.assert_close(found.patches, encode_image(tower(family), x, method).patches)


def test_the_bias_of_siglips_sigmoid_is_told() -> None:
    assert model("siglip", "clip").logit_bias == -10
    assert model("pe", "clip").logit_bias is None
