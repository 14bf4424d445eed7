"""Images to tokens: the new path computed beside open_clip's own modules, which are only read.

    pixels ─ patch embedding + position ─ blocks ─┬─ original path ─> class token
                                                  └─ new path ──────> patch tokens

A state is one tensor per path. In a block that the method changes, the new path gains
``P(attention)`` (CLIP Surgery, Eq. 6-7), or is replaced by it where the method has no residual.
The last block computes only what is read: one query and one feed-forward token for the class
token, attention rows of patches only for the new path.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.attention import Form, Heads, Method, attend, qk, weights
from ovseg.errors import UnsupportedModelError, UsageError
from ovseg.types import ImageTokens


@dataclass
class Trace:
    """What happened inside, one entry per block; filled by ``encode_image(..., trace=Trace())``.

    ``attention``: (B, heads, 1+N, 1+N) weights of the original path; ``new_attention``: those of
    the method's form, in changed blocks only (None elsewhere); ``attention_out``, ``ffn_out`` and
    ``new_attention_out``: (B, 1+N, C) residual contributions before the final norm. All stay in
    the autograd graph. Nothing is skipped while tracing, so it costs what plain CLIP costs and more.
    """

    attention: list[Tensor] = field(default_factory=list)
    new_attention: list[Tensor | None] = field(default_factory=list)
    attention_out: list[Tensor] = field(default_factory=list)
    ffn_out: list[Tensor] = field(default_factory=list)
    new_attention_out: list[Tensor | None] = field(default_factory=list)


def check_visual(visual: nn.Module) -> None:
    """Raise UnsupportedModelError unless ``visual`` is an image tower that can be read here."""
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


def encode_image(
    visual: nn.Module,
    pixels: Tensor,
    method: Method,
    *,
    patches: bool = True,
    trace: Trace | None = None,
) -> ImageTokens:
    """The projected tokens of ``pixels`` (B, 3, H, W), normalised as the model wants them.

    ``patches=False`` computes the class token only and returns an empty (B, 0, D) of patches with
    grid (0, 0). Gradients flow; the caller chooses ``torch.no_grad``. Outputs are float32.

    Raises UsageError where H or W is not a multiple of the patch size, UnsupportedModelError for
    an image tower without a class token.
    """
    check_visual(visual)
    step = patch_size(visual)
    fits = pixels.ndim == 4 and all(n and n % s == 0 for n, s in zip(pixels.shape[2:], step))
    if not fits or pixels.shape[1] != 3:
        raise UsageError(
            f"wanted pixels (B, 3, H, W) with H and W multiples of {step}, got {tuple(pixels.shape)}"
        )
    pixels = pixels.to(next(visual.parameters()).dtype)
    encode = _encode_vit if isinstance(visual, VisionTransformer) else _encode_resnet
    class_token, tokens, grid = encode(visual, pixels, method, patches, trace)
    if tokens is None:
        return ImageTokens(class_token.float()[:, None][:, :0], class_token.float(), (0, 0))
    return ImageTokens(tokens.float(), class_token.float(), grid)


def resize_positions(positions: Tensor, grid: tuple[int, int], how: str) -> Tensor:
    """A (1+N, C) square-grid position embedding for another ``grid``, (1+h*w, C), as a new tensor.

    Interpolated in float32; the class token's row stays as it is. The same grid gives the input
    back, so a model at its native size is exactly its own.
    """
    side = int((positions.shape[0] - 1) ** 0.5)
    if (side, side) == tuple(grid):
        return positions
    table = positions[1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, C, s, s)
    mode, antialias = ("bilinear", False) if how == "bilinear" else ("bicubic", how.endswith("antialias"))
    table = F.interpolate(table, size=grid, mode=mode, align_corners=False, antialias=antialias)
    table = table.flatten(2)[0].T.to(positions.dtype)  # (h*w, C)
    return torch.cat([positions[:1], table])


# ---------------------------------------------------------------------------------------- ViT


def _embed(visual: VisionTransformer, pixels: Tensor, how: str) -> tuple[Tensor, tuple[int, int]]:
    x = visual.conv1(pixels)  # (B, C, h, w)
    grid = (x.shape[2], x.shape[3])
    x = x.flatten(2).transpose(1, 2)  # (B, N, C)
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
    x = x + _positions(visual, grid, how).to(x.dtype)
    return visual.ln_pre(x), grid


def _positions(visual: VisionTransformer, grid: tuple[int, int], how: str) -> Tensor:
    native = visual.grid_size
    if native[0] != native[1]:
        raise UnsupportedModelError(f"wanted a square native grid, got {native}")
    return resize_positions(visual.positional_embedding, grid, how)


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, N, C) -> (B, heads, N, d)


def _merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (B, heads, N, d) -> (B, N, C)


def _heads(block: ResidualAttentionBlock, x: Tensor, grid: tuple[int, int], queries: bool = True) -> Heads:
    """q, k and v of ln_1(x) by the block's own weights; only the class token's q if not ``queries``."""
    attn = block.attn
    h = block.ln_1(x)
    if queries:
        q, k, v = F.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    else:
        width = h.shape[-1]
        weight, bias = attn.in_proj_weight, attn.in_proj_bias
        q = F.linear(h[:, :1], weight[:width], bias[:width])
        k, v = F.linear(h, weight[width:], bias[width:]).chunk(2, dim=-1)
    q, k, v = (_split_heads(u, attn.num_heads) for u in (q, k, v))
    return Heads(q, k, v, h, grid)


def _project(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    return block.ls_1(block.attn.out_proj(_merge_heads(x)))


def _feed_forward(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    return block.ls_2(block.mlp(block.ln_2(x)))


def _encode_vit(
    visual: VisionTransformer, pixels: Tensor, method: Method, patches: bool, trace: Trace | None
) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
    x, grid = _embed(visual, pixels, method.resize)  # original path, (B, 1+N, C)
    new: Tensor | None = None  # new path: patches only, or all tokens where it feeds itself
    blocks = list(visual.transformer.resblocks)
    first = max(0, len(blocks) - method.blocks) if patches else len(blocks)
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        changed = index >= first
        class_only = last and (changed or not patches) and trace is None
        shared = changed and (method.paths == 2 or index == first)  # the new path reads x's heads
        heads = _heads(block, x, grid, queries=not class_only or (shared and method.needs_queries))
        if changed:
            new = _new_path(block, x, new, heads, method, last, shared, trace)
        elif trace is not None:
            trace.new_attention.append(None)
            trace.new_attention_out.append(None)
        x = _original_path(block, x, heads, class_only, trace)
    class_token = _finish(visual, x[:, :1])[:, 0]
    if not patches:
        return class_token, None, grid
    tokens = x[:, 1:] if new is None else new
    return class_token, _finish(visual, tokens), grid


def _original_path(
    block: ResidualAttentionBlock, x: Tensor, heads: Heads, class_only: bool, trace: Trace | None
) -> Tensor:
    if class_only:
        x, heads = x[:, :1], heads._replace(q=heads.q[:, :, :1])
    if trace is None:
        out = _project(block, attend(qk(heads), heads.v))
    else:
        share = weights(qk(heads), heads.v)
        out = _project(block, share @ heads.v)
        trace.attention.append(share)
        trace.attention_out.append(out)
    x = x + out
    out = _feed_forward(block, x)
    if trace is not None:
        trace.ffn_out.append(out)
    return x + out


def _new_path(
    block: ResidualAttentionBlock,
    x: Tensor,
    new: Tensor | None,
    heads: Heads,
    method: Method,
    last: bool,
    shared: bool,
    trace: Trace | None,
) -> Tensor:
    start = 1 if last or method.paths == 2 else 0  # a path that feeds itself keeps its class token
    if not shared:
        assert new is not None  # the first changed block is always shared
        heads = _heads(block, new, heads.grid)
    before = x if new is None else new
    before = before[:, before.shape[1] - (x.shape[1] - start) :]  # the rows this block goes on with
    terms = method.form(heads)
    if trace is None:
        out = _project(block, attend(terms, heads.v, start))
    else:
        share = weights(terms, heads.v)
        full = _project(block, share @ heads.v)
        trace.new_attention.append(share)
        trace.new_attention_out.append(full)
        out = full[:, start:]
    new = before + out if method.residual else out
    return new + _feed_forward(block, new) if method.ffn else new


def _finish(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    tokens = visual.ln_post(tokens)
    return tokens if visual.proj is None else tokens @ visual.proj


# ------------------------------------------------------------------------------------- ResNet


def _encode_resnet(
    visual: ModifiedResNet, pixels: Tensor, method: Method, patches: bool, trace: Trace | None
) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
    """One attention pooling at the end: the method's form for the patches, no residual, no FFN."""
    x = visual.stem(pixels)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    grid = (x.shape[2], x.shape[3])
    pool = visual.attnpool
    x = x.flatten(2).transpose(1, 2)  # (B, N, C)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
    x = x + resize_positions(pool.positional_embedding, grid, method.resize).to(x.dtype)

    form = method.form if method.blocks else qk
    queries = (patches and (form is qk or method.needs_queries)) or trace is not None
    q, k, v = (
        _split_heads(u, pool.num_heads)
        for u in (pool.q_proj(x if queries else x[:, :1]), pool.k_proj(x), pool.v_proj(x))
    )
    heads = Heads(q, k, v, x, grid)
    if trace is not None:
        out = _trace_pool(pool, heads, form, trace)
        return out[0], out[1] if patches else None, grid if patches else (0, 0)
    own = heads._replace(q=q[:, :, :1])
    class_token = pool.c_proj(_merge_heads(attend(qk(own), v)))[:, 0]
    if not patches:
        return class_token, None, grid
    return class_token, pool.c_proj(_merge_heads(attend(form(heads), v, start=1))), grid


def _trace_pool(pool: AttentionPool2d, heads: Heads, form: Form, trace: Trace) -> tuple[Tensor, Tensor]:
    """Class token and patches through the explicit weights, so that gradients reach them."""
    original, new = (weights(terms, heads.v) for terms in (qk(heads), form(heads)))
    original_out, new_out = (pool.c_proj(_merge_heads(share @ heads.v)) for share in (original, new))
    trace.attention.append(original)
    trace.attention_out.append(original_out)
    trace.new_attention.append(new)
    trace.new_attention_out.append(new_out)
    return original_out[:, 0], new_out[:, 1:]
