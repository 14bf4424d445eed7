"""Small towers of every family, built by open_clip's own classes around timm's own constructors."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import open_clip.timm_model
import torch
from open_clip.model import CLIP
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
COCA = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "clip": {},
    "clipa": {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True},
    "average": {"pool_type": "avg"},
    "coca": COCA,
    "coca of one width": {**COCA, "width": 64, "head_width": 64},
    "coca, average": {**COCA, "pool_type": "avg"},
}  # fmt: skip
# timm's name, its pooling and projection in open_clip's config, and what makes it small.
SMALL = {"embed_dim": 128, "depth": 7, "num_heads": 2, "img_size": 64}
TIMM: dict[str, tuple[str, str, str | None, dict[str, Any]]] = {
    "siglip": ("vit_base_patch16_siglip_224", "map", "none", SMALL),
    "mobileclip": ("vit_base_mci_224", "token", None, {"depth": 2, "img_size": 64}),
    "mobileclip2-l": ("vit_large_patch16_224", "token", None, {**SMALL, "pre_norm": True}),
    "mean": ("vit_medium_patch16_gap_256", "", "linear", SMALL),
    "vitamin": ("vitamin_small_224", "", "linear", {"depth": 3, "img_size": 64}),
    "vitamin without positions": (
        "vitamin_small_224", "", "linear", {"depth": 2, "img_size": 64, "pos_embed": "none"},
    ),
    "eva01": ("eva_giant_patch14_224", "token", None, {**SMALL, "patch_size": 16}),
    "eva02": ("eva02_base_patch16_clip_224", "token", None, SMALL),
    "eva02-e": ("eva02_enormous_patch14_clip_224", "token", None, {**SMALL, "patch_size": 16}),
    "pe": ("vit_pe_core_base_patch16_224", "map", None, {**SMALL, "attn_pool_num_heads": 2}),
    "pe-g": (
        "vit_pe_core_gigantic_patch14_448", "map", None,
        {**SMALL, "patch_size": 16, "attn_pool_num_heads": 2},
    ),
}  # fmt: skip
BLOCKS = [*OPEN_CLIP, *TIMM]
CELLS = {
    "convnext": ("convnext_tiny", "", "linear", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
    "convnext with mlp": ("convnext_tiny", "", "mlp", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
    "fastvit": ("fastvit_mci1", "avg", None, {"layers": (1, 1, 1, 1), "embed_dims": (32, 32, 64, 64)}),
    "fastvit of five stages": (
        "fastvit_mci3", "avg", None, {"layers": (1, 1, 1, 1, 1), "embed_dims": (32, 32, 32, 64, 64)},
    ),
}  # fmt: skip


def timm_tower(
    name: str, pool: str, proj: str | None, size: int | tuple[int, int], small: dict[str, Any]
) -> nn.Module:
    """open_clip's TimmModel, of which timm's constructor gets the small values besides open_clip's."""
    create = functools.partial(open_clip.timm_model.timm.create_model, **small)
    with mock.patch.object(open_clip.timm_model.timm, "create_model", create):
        return TimmModel(name, 48, image_size=size, pool=pool, proj=proj)


@functools.cache
def tower(family: str, size: int | tuple[int, int] = 64) -> Any:
    """The tower of a family, the same at each call, without an initialisation's zeros and ones."""
    torch.manual_seed(0)
    if family in OPEN_CLIP:
        config = {"layers": 7, "width": 128, "head_width": 64, "patch_size": 16, "image_size": size}
        visual: nn.Module = CLIP(
            64 if "one width" in family else 48, {**config, **OPEN_CLIP[family]}, TEXT
        ).visual
    else:
        name, pool, proj, small = {**TIMM, **CELLS}[family]
        if "img_size" in small:
            small = {**small, "img_size": size}
        visual = timm_tower(name, pool, proj, size, small)
    for name, parameter in visual.named_parameters():
        if "blocks" in name and any(part in name for part in ("qkv.w", "q_proj.w", "k_proj.w", "v_proj.w")):
            parameter.data *= 3  # timm begins with attention that is nearly the same everywhere
        if name == "trunk.head.weight" and parameter.std() < 0.01:
            parameter.data *= 0.05 / parameter.std()  # Eva begins with a head of nearly nothing
        if parameter.ndim == 1 or not parameter.any():
            parameter.data += 0.1 * torch.randn_like(parameter)
    for module in visual.modules():  # statistics that nobody has trained
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)  # type: ignore[union-attr, operator]
    return visual.eval().requires_grad_(False)


def own_feature(visual: Any, pixels: Tensor) -> Tensor:
    """The tower's own answer; CoCa's gives its tokens besides."""
    found = visual(pixels)
    return found[0] if isinstance(found, tuple) else found


def own_tokens(visual: Any, pixels: Tensor) -> Tensor:
    """The tokens (B, P+N, C) that the tower's pooling gets, by its own forward."""
    if isinstance(visual, TimmModel):
        return visual.trunk.forward_features(pixels)
    return visual.transformer(visual._embeds(pixels))


def own_pooling(visual: Any, tokens: Tensor) -> Tensor:
    """The tower's own answer to these tokens."""
    if isinstance(visual, TimmModel):
        return visual.head(visual.trunk.forward_head(tokens))
    return visual._pool(tokens)[0] @ visual.proj


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)
