"""Towers of blocks: each family against its own forward, each method against a formula by its own modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from open_clip.timm_model import TimmModel
from small_towers import (
    BLOCKS,
    TIMM,
    close,
    own_feature,
    own_pooling,
    own_tokens,
    pixels,
    timm_tower,
    tower,
)
from timm.models.eva import EvaBlock, EvaBlockPostNorm
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.attention import METHODS
from ovseg.clip.encoder import Trace, encode_image
from ovseg.clip.towers import BlockTower, resize_positions, tower_of


def adapter(family: str) -> BlockTower:
    found = tower_of(tower(family))
    assert isinstance(found, BlockTower)
    return found


# ------------------------------------------------------------------------- the tower's own answers


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", BLOCKS)
def test_class_token_is_the_towers_own_feature(family: str, name: str) -> None:
    visual, x = tower(family), pixels(2, 3, 64, 64)
    own = own_feature(visual, x)
    found = encode_image(visual, x, METHODS[name])
    assert found.grid == (4, 4) and found.patches.isfinite().all() and own.abs().max() > 0.01
    close(found.class_token, own)
    alone = encode_image(visual, x, METHODS[name], patches=False)
    close(alone.class_token, own)
    assert alone.patches.shape == (2, 0, own.shape[1])


@pytest.mark.parametrize("family", BLOCKS)
def test_a_place_is_what_the_towers_own_pooling_makes_of_its_token_alone(family: str) -> None:
    visual, x = tower(family), pixels(2, 3, 64, 64)
    tokens = own_tokens(visual, x)
    prefix = tokens.shape[1] - 16
    assert prefix == adapter(family).prefix
    # open_clip's average leaves the first token out.
    kept = (
        [0]
        if not isinstance(visual, TimmModel) and visual.pool_type == "avg" and visual.attn_pool is None
        else []
    )
    wanted = [own_pooling(visual, tokens[:, [*kept, prefix + place]]) for place in range(16)]
    close(encode_image(visual, x, METHODS["clip"]).patches, torch.stack(wanted, dim=1))


@pytest.mark.parametrize("family", ["average"])
def test_the_mean_of_the_places_is_the_feature_where_the_norm_comes_first(family: str) -> None:
    found = encode_image(tower(family), pixels(2, 3, 64, 64), METHODS["clip"])
    close(found.patches.mean(dim=1), found.class_token)


# ----------------------------------------------------------------------------- methods, literally


def soft(a: Tensor, b: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return (a.shape[-1] ** -0.5 * a @ b.transpose(-1, -2) + bias).softmax(dim=-1)


def near(q: Tensor, grid: tuple[int, int]) -> Tensor:
    count, prefix = q.shape[2], q.shape[2] - grid[0] * grid[1]
    bias = torch.zeros(count, count)
    for i in range(count - prefix):
        for j in range(count - prefix):
            squared = (i // grid[1] - j // grid[1]) ** 2 + (i % grid[1] - j % grid[1]) ** 2
            bias[prefix + i, prefix + j] = torch.tensor(-squared / 50).exp()
    return bias


Mix = Callable[[Tensor, Tensor, Tensor], Tensor]
MIX: dict[str, Mix] = {
    "maskclip": lambda q, k, v: torch.eye(v.shape[2]),
    "clip_surgery": lambda q, k, v: soft(v, v),
    "sclip": lambda q, k, v: soft(q, q) + soft(k, k),
    "clearclip": lambda q, k, v: soft(q, q),
    "naclip": lambda q, k, v: soft(k, k, near(q, (4, 4))),
    "segearth": lambda q, k, v: soft(q, q) + soft(k, k) + soft(v, v),
}


def own_attention(block: Any, x: Tensor, mix: Mix, rope: dict[str, Tensor]) -> Tensor:
    """What a block's own attention adds with ``mix`` of timm's own q and k in place of the fused one."""

    def instead(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        return mix(q, k, v) @ v

    with mock.patch.object(F, "scaled_dot_product_attention", instead):
        if isinstance(block, EvaBlockPostNorm):
            return block.norm1(block.attn(x, **rope))
        out = block.attn(block.norm1(x), **rope)
    if isinstance(block, EvaBlock):
        return out if block.gamma_1 is None else block.gamma_1 * out
    return block.ls1(out)


def own_feed_forward(block: Any, x: Tensor) -> Tensor:
    if isinstance(block, EvaBlockPostNorm):
        return block.norm2(block.mlp(x))
    out = block.mlp(block.norm2(x))
    if isinstance(block, EvaBlock):
        return out if block.gamma_2 is None else block.gamma_2 * out
    return block.ls2(out)


def literal(visual: Any, x: Tensor, name: str) -> Tensor:
    """Tokens of the changed path before the norm, by the trunk's own modules."""
    trunk, method = visual.trunk, METHODS[name]
    x, rope = trunk.patch_embed(x), {}
    x = trunk._pos_embed(x)
    if isinstance(x, tuple):
        x, turned = x
        rope = {} if turned is None else {"rope": turned}
    x = new = trunk.norm_pre(x)
    for index, block in enumerate(trunk.blocks):
        if index >= len(trunk.blocks) - method.blocks:
            out = own_attention(block, x, MIX[name], rope)
            new = new + out if method.residual else out
            if method.ffn:
                new = new + own_feed_forward(block, new)
            x = block(x, **rope)
        else:
            x = new = block(x, **rope)
    return new


@pytest.mark.parametrize("name", MIX)
@pytest.mark.parametrize("family", TIMM)
def test_method_equals_its_formula_by_timms_own_modules(family: str, name: str) -> None:
    visual, x = tower(family), pixels(2, 3, 64, 64, seed=1)
    new = visual.trunk.norm(literal(visual, x, name))
    prefix = new.shape[1] - 16
    found = encode_image(visual, x, METHODS[name])
    wanted = [own_pooling(visual, new[:, [prefix + place]]) for place in range(16)]
    close(found.patches, torch.stack(wanted, dim=1), atol=2e-5)
    if name == "segearth":  # what the tower's pooling makes of the changed path
        assert found.bias_token is not None
        close(found.bias_token, own_pooling(visual, new), atol=2e-5)


@pytest.mark.parametrize("family", BLOCKS)
def test_methods_differ_in_every_family(family: str) -> None:
    outs = [encode_image(tower(family), pixels(1, 3, 64, 64), method).patches for method in METHODS.values()]
    for i, one in enumerate(outs):
        assert all((one - other).abs().max() > 1e-5 for other in outs[:i])


# --------------------------------------------------------------------------- other grids, batches


@pytest.mark.parametrize("family", BLOCKS)
def test_another_grid_is_that_of_a_tower_built_for_it(family: str) -> None:
    """A tower of 64 x 96 pixels from the start, with positions resized, gives the same tokens."""
    visual, other = tower(family), tower(family, (64, 96))
    weights = dict(visual.state_dict())
    for key, prefix in (("positional_embedding", 1), ("trunk.pos_embed", adapter(family).prefix)):
        if key in weights:
            table = weights[key] if weights[key].ndim == 2 else weights[key][0]
            prefix = len(table) - 16
            table = resize_positions(table, (4, 4), (4, 6), "bilinear", prefix)
            weights[key] = table.reshape(other.state_dict()[key].shape)
    other.load_state_dict(weights)
    x = pixels(1, 3, 64, 96)
    found, wanted = (encode_image(v, x, METHODS["clip_surgery"]) for v in (visual, other))
    assert found.grid == (4, 6)
    close(found.class_token, own_feature(other, x))
    close(found.patches, wanted.patches)


@pytest.mark.parametrize("family", BLOCKS)
def test_a_batch_is_its_images_and_leaves_no_trace(family: str) -> None:
    visual, x = tower(family), pixels(2, 3, 48, 80)
    kept = {**visual.state_dict(), **dict(visual.named_buffers())}
    before = {k: v.clone() for k, v in kept.items()}
    for name in ("clip_surgery", "segearth", "gem"):  # GEM's factor is each image's own
        method = METHODS[name]
        together = encode_image(visual, x, method)
        assert together.grid == (3, 5)
        for index in range(2):
            alone = encode_image(visual, x[index : index + 1], method)
            close(together.patches[index], alone.patches[0])
            close(together.class_token[index], alone.class_token[0])
    after = {**visual.state_dict(), **dict(visual.named_buffers())}
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_a_side_that_is_no_multiple_of_the_patch_is_read_as_far_as_the_tower_reads_it() -> None:
    """SigLIP's 384 pixels in patches of 14: the last six columns and rows are never seen."""
    name, pool, proj, small = TIMM["siglip"]
    visual = timm_tower(name, pool, proj, 64, {**small, "patch_size": 14}).eval()
    assert tower_of(visual).native_size == (56, 56)
    x = pixels(1, 3, 64, 64)
    with torch.no_grad():
        found = encode_image(visual, x[..., :56, :56], METHODS["clip_surgery"])
        close(found.class_token, own_feature(visual, x))


# ------------------------------------------------------------------- traces, gradients, precision


@pytest.mark.parametrize("name", ["clip", "clip_surgery", "segearth", "naclip"])
@pytest.mark.parametrize("family", BLOCKS)
def test_tracing_changes_nothing_in_any_family(family: str, name: str) -> None:
    visual, x, trace = tower(family), pixels(1, 3, 64, 64), Trace()
    traced = encode_image(visual, x, METHODS[name], trace=trace)
    plain = encode_image(visual, x, METHODS[name])
    close(traced.patches, plain.patches)
    close(traced.class_token, plain.class_token)
    count = adapter(family).prefix + 16
    assert trace.attention[-1].shape[-2:] == (count, count)


@pytest.mark.parametrize("family", BLOCKS)
def test_gradients_reach_the_pixels_of_every_family(family: str) -> None:
    x = pixels(1, 3, 64, 64).requires_grad_()
    found = encode_image(tower(family), x, METHODS["clip_surgery"])
    (found.patches.sum() + found.class_token.sum()).backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().max() > 0


@pytest.mark.parametrize("family", ["clipa", "coca", "siglip", "eva02", "pe"])
def test_a_path_that_feeds_itself_works_in_every_family(family: str) -> None:
    x = pixels(1, 3, 64, 64)
    method = replace(METHODS["clip_surgery"], paths=1, ffn=True)
    close(
        encode_image(tower(family), x, method, trace=Trace()).patches,
        encode_image(tower(family), x, method).patches,
    )
