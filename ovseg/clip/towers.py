"""open_clip's image towers, read part by part and never changed.

``encoder.py`` computes new tokens beside the tower's own modules. What it needs of a tower is here: which towers
can be read, their patch size, the embedding of pixels, queries, keys and values of a block, and the final
projection. A further family of towers is added here.
"""

from __future__ import annotations

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.attention import Heads
from ovseg.errors import UnsupportedModelError


def check_visual(visual: nn.Module) -> None:
    """Raise UnsupportedModelError unless ``visual`` is an image tower whose tokens can be read here."""
    name = type(visual).__name__
    if isinstance(visual, ModifiedResNet):
        return
    if not isinstance(visual, VisionTransformer):
        raise UnsupportedModelError(f"wanted open_clip's VisionTransformer or ModifiedResNet, got {name}")
    if visual.pool_type != "tok" or visual.attn_pool is not None:
        pooling = "attentional" if visual.attn_pool is not None else visual.pool_type
        raise UnsupportedModelError(f"wanted an image tower with a class token, got {pooling} pooling")
    for block in visual.transformer.resblocks:
        if not isinstance(block, ResidualAttentionBlock):
            raise UnsupportedModelError(
                f"wanted open_clip's ResidualAttentionBlock, got {type(block).__name__}"
            )


def patch_size(visual: nn.Module) -> tuple[int, int]:
    """Pixels per token, (height, width): the patch of a ViT, the total stride 32 of a ResNet."""
    return visual.patch_size if isinstance(visual, VisionTransformer) else (32, 32)


def native_size(visual: nn.Module) -> tuple[int, int]:
    """The input (height, width) in pixels that the tower was built for."""
    assert isinstance(visual, (VisionTransformer, ModifiedResNet))
    size = visual.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def resize_positions(positions: Tensor, native: tuple[int, int], grid: tuple[int, int], how: str) -> Tensor:
    """The position embedding for another grid, as a new tensor.

    It is interpolated in float32; the class token's row stays as it is. The native grid gives the input back, so
    a model at its own size is exactly its own.

    Args:
        positions: (1+N, C), the class token first, then the native grid row by row.
        native: (h, w) of that grid, N = h * w.
        grid: (h, w) wanted.
        how: "bilinear", "bicubic" or "bicubic_antialias".

    Returns:
        (1 + h*w, C).
    """
    if native == tuple(grid):
        return positions
    table = positions[1:].float().reshape(1, *native, -1).permute(0, 3, 1, 2)  # (1, C, h, w)
    mode, antialias = ("bilinear", False) if how == "bilinear" else ("bicubic", how.endswith("antialias"))
    table = F.interpolate(table, size=grid, mode=mode, align_corners=False, antialias=antialias)
    table = table.flatten(2)[0].T.to(positions.dtype)  # (h*w, C)
    return torch.cat([positions[:1], table])


# ---------------------------------------------------------------------------------------- ViT


def embed_pixels(visual: VisionTransformer, pixels: Tensor, how: str) -> tuple[Tensor, tuple[int, int]]:
    """Pixels (B, 3, H, W) to the input of the first block, (B, 1+N, C), and its grid (h, w)."""
    x = visual.conv1(pixels)  # (B, C, h, w)
    grid = (x.shape[2], x.shape[3])
    x = x.flatten(2).transpose(1, 2)  # (B, N, C)
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
    native = (int(visual.grid_size[0]), int(visual.grid_size[1]))
    x = x + resize_positions(visual.positional_embedding, native, grid, how).to(x.dtype)
    return visual.ln_pre(x), grid


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, d) -> (B, N, heads * d)."""
    return x.transpose(1, 2).flatten(2)


def block_heads(
    block: ResidualAttentionBlock, x: Tensor, grid: tuple[int, int], queries: bool = True
) -> Heads:
    """Queries, keys and values of ln_1(x) by the block's own weights.

    ``queries=False`` computes the class token's query only.
    """
    attn = block.attn
    h = block.ln_1(x)
    if queries:
        q, k, v = F.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    else:
        width = h.shape[-1]
        weight, bias = attn.in_proj_weight, attn.in_proj_bias
        q = F.linear(h[:, :1], weight[:width], bias[:width])
        k, v = F.linear(h, weight[width:], bias[width:]).chunk(2, dim=-1)
    q, k, v = (split_heads(u, attn.num_heads) for u in (q, k, v))
    return Heads(q, k, v, h, grid)


def project_attention(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """The attention's output (B, heads, N, d) through the block's projection, (B, N, C)."""
    return block.ls_1(block.attn.out_proj(merge_heads(x)))


def feed_forward(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """What the block's feed-forward network adds to x, (B, N, C)."""
    return block.ls_2(block.mlp(block.ln_2(x)))


def project_tokens(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    """The final norm and the projection into the common space, (B, N, D)."""
    tokens = visual.ln_post(tokens)
    return tokens if visual.proj is None else tokens @ visual.proj


# ------------------------------------------------------------------------------------- ResNet


def pooling_input(visual: ModifiedResNet, pixels: Tensor, how: str) -> tuple[Tensor, tuple[int, int]]:
    """Pixels (B, 3, H, W) to the input of the attention pooling, (B, 1+N, C), mean first, and its grid (h, w)."""
    x = visual.stem(pixels)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    grid = (x.shape[2], x.shape[3])
    x = x.flatten(2).transpose(1, 2)  # (B, N, C)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
    height, width = native_size(visual)
    table = visual.attnpool.positional_embedding
    return x + resize_positions(table, (height // 32, width // 32), grid, how).to(x.dtype), grid


def pooling_heads(pool: AttentionPool2d, x: Tensor, grid: tuple[int, int], queries: bool) -> Heads:
    """Queries, keys and values of the attention pooling; only the class token's query if not ``queries``."""
    q, k, v = (
        split_heads(u, pool.num_heads)
        for u in (pool.q_proj(x if queries else x[:, :1]), pool.k_proj(x), pool.v_proj(x))
    )
    return Heads(q, k, v, x, grid)
