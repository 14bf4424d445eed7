"""The paper written out literally from its equations: every product formed, every path computed in full.

What the closed forms and the shared pass of ovseg are compared with, in tests and in tools/benchmark.py.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def attention(block, h, form):
    """P(softmax(s a bᵀ) v) over all tokens, the weights formed explicitly."""
    attn = block.attn
    batch, count, width = h.shape
    q, k, v = F.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    q, k, v = (u.reshape(batch, count, attn.num_heads, -1).transpose(1, 2) for u in (q, k, v))
    a, b = {"qk": (q, k), "vv": (v, v)}[form]
    share = (a @ b.transpose(-1, -2) * v.shape[-1] ** -0.5).softmax(dim=-1)
    return attn.out_proj((share @ v).transpose(1, 2).reshape(batch, count, width))


def positions(visual, grid):
    table = visual.positional_embedding
    side = int((len(table) - 1) ** 0.5)
    square = table[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([table[:1], square.flatten(2)[0].T])


def encode(visual, pixels, blocks=6):
    """Eq. 2-7: (B, 3, H, W) -> (B, 1+N, D), class token of the original path, patches of the new one."""
    x = visual.conv1(pixels)
    grid = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1).to(x.dtype), x], dim=1)
    x = visual.ln_pre(x + positions(visual, grid).to(x.dtype))
    new = None
    depth = len(visual.transformer.resblocks)
    for index, block in enumerate(visual.transformer.resblocks):
        if index >= depth - blocks:
            new = (x if new is None else new) + attention(block, block.ln_1(x), "vv")
        x = x + attention(block, block.ln_1(x), "qk")
        x = x + block.mlp(block.ln_2(x))
    tokens = torch.cat([x[:, :1], new[:, 1:]], dim=1)
    return visual.ln_post(tokens) @ visual.proj


def label_set(patches, text, class_token, tau=2.0, form="paper"):
    """Eq. 8-11 for one image with the (N, K, C) product: unit (N, C), (K, C), (C) -> (N, K)."""
    s = (tau * class_token @ text.T).softmax(dim=-1)
    w = s / s.mean()
    product = patches[:, None] * text[None]
    redundant = (product * w[None, :, None]).mean(dim=1, keepdim=True)
    if form == "code":
        product = product * w[None, :, None]
    return (product - redundant).sum(dim=-1)


def single(patches, text, empty):
    """One text at a time against the empty string: unit (N, C), (K, C), (1, C) -> (N, K)."""
    return torch.stack([(patches * t - patches * empty[0]).sum(dim=-1) for t in text], dim=-1)


def to_map(scores, grid, size, normalise_first=False):
    """Eq. 1 with loops: (N, K) -> (K, H, W)."""
    maps = []
    for column in scores.T:
        image = column.reshape(1, 1, *grid)
        if normalise_first:
            image = (image - image.min()) / (image.max() - image.min())
        image = F.interpolate(image, size=size, mode="bilinear", align_corners=False)[0, 0]
        maps.append(image if normalise_first else (image - image.min()) / (image.max() - image.min()))
    return torch.stack(maps)


def encode_names(clip, tokenizer, names, templates):
    """Prompt ensembles one name at a time, every prompt at the full context length."""
    features = []
    for name in names:
        prompts = F.normalize(clip.encode_text(tokenizer([t.format(name) for t in templates])), dim=-1)
        features.append(F.normalize(prompts.mean(dim=0), dim=0))
    return torch.stack(features)
