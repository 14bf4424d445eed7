"""The embedded model's convolutional tower: pooling by hand, every method, configs that do not fit."""

from __future__ import annotations

import pytest
import torch

from ovseg.clip.attention import METHODS, get_method
from ovseg.clip.encoder import encode_image
from ovseg.clip.pooled import PooledTrunk, check_trunk
from ovseg.clip.towers import tower_of
from ovseg.errors import WeightsError

CONFIG = {"trunk": "tf_efficientnet_lite0", "image_size": 64, "hidden": 32, "heads": 2}


@pytest.fixture(scope="module")
def visual():
    torch.manual_seed(0)
    made = PooledTrunk(64, **CONFIG).eval()
    torch.nn.init.normal_(made.attnpool.positional_embedding)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_the_class_token_is_the_towers_own_answer(visual):
    square = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    found = encode_image(visual, square, get_method("clip_surgery"))
    torch.testing.assert_close(found.class_token, visual(square), atol=1e-5, rtol=1e-5)


def test_a_place_has_sixteen_pixels_a_side(visual, pixels):
    assert tower_of(visual).patch_size == (16, 16)
    assert encode_image(visual, pixels, get_method("clip")).grid == (4, 6)


def test_without_attention_a_place_is_the_head_of_that_place_alone(visual):
    """The value path: c_proj(v_proj(head(x) + position)); nothing of another place is in it."""
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    x = visual.places(pixels).flatten(2).transpose(1, 2) + visual.attnpool.positional_embedding[1:]
    wanted = visual.attnpool.c_proj(visual.attnpool.v_proj(x))
    found = encode_image(visual, pixels, get_method("maskclip")).patches
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_feature_for_every_place(visual, pixels, method):
    found = encode_image(visual, pixels, get_method(method))
    assert found.patches.shape == (2, 24, 64) and bool(torch.isfinite(found.patches).all())


@pytest.mark.parametrize(
    "change",
    [{"trunk": "resnet50"}, {"hidden": 0}, {"heads": True}, {"image_size": 10**6}, {"more": 1}],
    ids=lambda change: next(iter(change)),
)
def test_a_config_of_something_else_is_one_line(change):
    with pytest.raises(WeightsError, match="expected a config of the file with"):
        check_trunk({**CONFIG, **change}, "the file")
