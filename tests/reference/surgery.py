"""CLIP Surgery written down literally, slowly and without regard for what is read in the end.

Independent of the package: every formula in the order of the
paper, every tensor in full. The tests compare ovseg with it, tools/benchmark.py measures against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# ------------------------------------------------------------------------ architecture surgery


def encode(visual: Any, pixels: Tensor, blocks: int = 6) -> Tensor:
    """Tokens (B, 1+N, D) of an open_clip VisionTransformer: class token first, as projected.

    Both paths are computed in full in each of the last ``blocks`` blocks, q, k and v for each path
    anew, and all tokens of both go on to the end (Eq. 2-7).
    """
    x = embed(visual, pixels)
    x_new = x
    layers = list(visual.transformer.resblocks)
    for index, block in enumerate(layers):
        if index < len(layers) - blocks:
            x = original_block(block, x)
            x_new = x
        else:
            x_new = x_new + value_attention(block, x)
            x = original_block(block, x)
    tokens = torch.cat([x[:, :1], x_new[:, 1:]], dim=1)
    return visual.ln_post(tokens) @ visual.proj


def embed(visual: Any, pixels: Tensor) -> Tensor:
    """Patches, class token and position embedding, the latter bilinear to the grid of ``pixels``."""
    x = visual.conv1(pixels)
    batch, width, height, breadth = x.shape
    x = x.reshape(batch, width, height * breadth).permute(0, 2, 1)
    x = torch.cat([visual.class_embedding.repeat(batch, 1, 1), x], dim=1)
    positions = visual.positional_embedding
    if visual.grid_size != (height, breadth):
        table = positions[1:].reshape(1, *visual.grid_size, width).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=(height, breadth), mode="bilinear", align_corners=False)
        table = table.permute(0, 2, 3, 1).reshape(height * breadth, width)
        positions = torch.cat([positions[:1], table], dim=0)
    return visual.ln_pre(x + positions)


def queries_keys_values(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of ln_1(x), each (B, heads, 1+N, head_dim)."""
    batch, count, width = x.shape
    heads = block.attn.num_heads
    qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
    qkv = qkv.reshape(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    return qkv[0], qkv[1], qkv[2]


def attention(block: Any, a: Tensor, b: Tensor, v: Tensor) -> Tensor:
    """P(softmax(s a bᵀ) v), (B, 1+N, C), with the weights spelled out."""
    batch, heads, count, size = v.shape
    weights = (size**-0.5 * (a @ b.transpose(-2, -1))).softmax(dim=-1)
    out = (weights @ v).transpose(1, 2).reshape(batch, count, heads * size)
    return block.attn.out_proj(out)


def original_block(block: Any, x: Tensor) -> Tensor:
    """Eq. 2 and the feed-forward network."""
    q, k, v = queries_keys_values(block, x)
    x = x + attention(block, q, k, v)
    return x + block.mlp(block.ln_2(x))


def value_attention(block: Any, x: Tensor) -> Tensor:
    """Eq. 3, of the original path's ``x``: what the new path gains in this block."""
    _, _, v = queries_keys_values(block, x)
    return attention(block, v, v, v)


# ----------------------------------------------------------------------------- feature surgery


def label_set(
    patches: Tensor, text: Tensor, class_token: Tensor, tau: float = 2, form: str = "paper"
) -> Tensor:
    """Feature surgery over K texts (Eq. 8-11), element by element: (N, D), (K, D), (D,) -> (N, K).

    The tensor of products is there in full, (N, K, D). ``form``: "paper" subtracts the redundant
    feature from the products, "code" from the weighted products.
    """
    patches, text, class_token = (F.normalize(x, dim=-1) for x in (patches, text, class_token))
    score = (tau * class_token @ text.T).softmax(dim=-1)
    weight = score / score.mean()  # (K,)
    product = patches[:, None, :] * text[None, :, :]  # F_m, (N, K, D)
    weighted = product * weight[None, :, None]
    redundant = weighted.mean(dim=1, keepdim=True)  # F_r, (N, 1, D)
    return ((product if form == "paper" else weighted) - redundant).sum(dim=-1)


def single(patches: Tensor, text: Tensor, empty: Tensor) -> Tensor:
    """One text at a time against the empty string's feature: (N, D), (K, D), (D,) -> (N, K)."""
    patches, text, empty = (F.normalize(x, dim=-1) for x in (patches, text, empty))
    product = patches[:, None, :] * text[None, :, :]  # (N, K, D)
    redundant = patches[:, None, :] * empty[None, None, :]
    return (product - redundant).sum(dim=-1)


def similarity_map(
    similarity: Tensor, grid: tuple[int, int], size: tuple[int, int], normalise_first: bool = True
) -> Tensor:
    """Eq. 1: (N, K) -> (K, H, W), text by text; min-max before the resize (the public code), or after."""
    maps = []
    for column in similarity.T:
        values = column.reshape(1, 1, *grid)
        if normalise_first:
            values = (values - values.min()) / (values.max() - values.min())
        values = F.interpolate(values, size=size, mode="bilinear", align_corners=False)[0, 0]
        if not normalise_first:
            values = (values - values.min()) / (values.max() - values.min())
        maps.append(values)
    return torch.stack(maps)


# ----------------------------------------------------------------------------- prompt ensemble


def encode_names(clip: Any, tokenizer: Any, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """(K, D): for one name after the other, its prompts at full length; normalise, mean, normalise."""
    features = []
    for name in names:
        tokens = tokenizer([template.replace("{}", name) for template in templates])  # (T, 77)
        prompts = F.normalize(clip.encode_text(tokens), dim=-1)
        features.append(F.normalize(prompts.mean(dim=0), dim=-1))
    return torch.stack(features)
