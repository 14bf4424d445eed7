"""Changes of a model in memory: features follow them, and no feature gets under another model's key."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import QuickGELU
from torch import nn

from ovseg.clip import embedded
from ovseg.clip.text import TextCache, TextEncoder
from ovseg.clip.text_key import weight_digest
from ovseg.clip.text_state import text_state


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-32")


def other_activation(clip):
    for block in clip.transformer.resblocks:
        block.mlp.gelu = QuickGELU()


def other_setting(clip):
    clip.transformer.resblocks[0].ln_1.eps = 1.0


def all_of_a_weight(clip):
    clip.text_projection.data.normal_()


def one_value(clip):
    clip.text_projection.data[3, 5] += 1.0


def one_row_of_tokens(clip):  # 2677: "tree"
    clip.token_embedding.weight.data[2677] *= -1


def two_rows_exchanged(clip):
    weight = clip.token_embedding.weight.data
    weight[[2677, 2676]] = weight[[2676, 2677]]


def through_numpy(clip):
    clip.ln_final.weight.detach().numpy()[7] = 3


def weight_replaced(clip):
    clip.ln_final.weight = nn.Parameter(torch.full_like(clip.ln_final.weight, 0.1).cumsum(0))


def storage_replaced(clip):
    clip.ln_final.bias.data = torch.linspace(0, 1, len(clip.ln_final.bias))


def hook_added(clip):
    clip.ln_final.register_forward_hook(lambda module, args, found: found.roll(1, -1))


CHANGES = [
    other_activation,
    other_setting,
    all_of_a_weight,
    one_value,
    one_row_of_tokens,
    two_rows_exchanged,
    through_numpy,
    weight_replaced,
    storage_replaced,
    hook_added,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kept", ["in memory", "on disk"])
def test_features_follow_every_change_and_none_is_kept_for_another_model(tokenizer, tmp_path, change, kept):
    def encode(clip, folder=None):
        encoder = TextEncoder(clip, tokenizer, TextCache(folder) if folder else None)
        return lambda *names: encoder.encode(names, ["{}", "a {}"]).numpy()

    folder = tmp_path if kept == "on disk" else None
    original = encode(embedded.load("tiny"))("tree", "zebra")
    clip = embedded.load("tiny")
    ask = encode(clip, folder)
    np.testing.assert_allclose(ask("tree"), original[:1], atol=1e-6)
    with torch.no_grad():
        change(clip)
    changed = encode(clip)("tree", "zebra")
    assert np.abs(changed[0] - original[0]).max() > 1e-4
    np.testing.assert_allclose(ask("tree"), changed[:1], atol=1e-6)  # known before the change
    np.testing.assert_allclose(ask("zebra"), changed[1:], atol=1e-6)  # new
    np.testing.assert_allclose(encode(embedded.load("tiny"), folder)("tree", "zebra"), original, atol=1e-6)


def test_a_change_while_texts_are_encoded_is_not_written(tokenizer, tmp_path):
    clip = embedded.load("tiny")

    def progress(done, total):
        if done:
            all_of_a_weight(clip)

    encoder = TextEncoder(clip, tokenizer, TextCache(tmp_path))
    encoder.encode(["tree"], "plain", progress)
    assert not list(tmp_path.rglob("*.feature"))
    assert torch.equal(
        encoder.encode(["tree"], "plain"), TextEncoder(clip, tokenizer).encode(["tree"], "plain")
    )


def test_nothing_is_written_for_a_model_with_hooks(tokenizer, tmp_path):
    clip = embedded.load("tiny")
    hook_added(clip)
    TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")
    assert not list(tmp_path.rglob("*.feature"))


def test_an_unchanged_model_has_an_equal_state_and_the_image_tower_does_not_count():
    clip = embedded.load("tiny")
    before = text_state(clip)
    assert text_state(clip) == before
    clip.visual.conv1.weight.data.normal_()
    assert text_state(clip) == before


@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(()),
        torch.zeros(0, 3),
        torch.zeros(7, 5),
        torch.zeros(600, 3).bfloat16(),
        torch.zeros(999, dtype=torch.bool),
        torch.zeros(1001)[1:],
        torch.zeros(3, 300, dtype=torch.float64).t(),
    ],
    ids=lambda one: f"{tuple(one.shape)} {one.dtype}",
)
def test_weights_of_any_type_and_shape_are_summed(values):
    model = nn.Module()
    model.register_buffer("values", values)
    before, digest = text_state(model), weight_digest(model)
    if values.numel():
        values.data.view(-1)[-1:].fill_(1) if values.is_contiguous() else values.data.fill_(1)
        assert text_state(model).checksum != before.checksum
        assert weight_digest(model) != digest
