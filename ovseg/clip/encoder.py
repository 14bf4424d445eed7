"""Images to tokens: the changed path is computed beside open_clip's own modules, which are only read.

    pixels ─ patch embedding + position ─ blocks ─┬─ original path ─> class token
                                                  └─ changed path ──> patch tokens

Why two paths. The dense tokens of a CLIP are poor because its last blocks mix every patch with the rest of the
image; a method replaces the attention of those blocks. But the class token must stay what the model was trained to
give, for recognition, presence and feature surgery, and in methods such as CLIP Surgery the queries, keys and
values of a changed block come from the *original* tokens: computed from changed tokens they would drift away from
what the block's weights expect (Table 4 of the paper: mSC falls from 32.3 to −7.7). So both are carried along: the
original tokens ``x`` run through every block unchanged, and the changed tokens ``new`` start as a copy of ``x`` at
the first changed block and collect ``P(attention)`` from there on (Eq. 6-7). A method with one path feeds its
changed tokens back into the next changed block instead. Of the last block only what is read is computed: one query
and one feed-forward token for the class token, and attention rows of patches for the changed path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from ovseg.clip.attention import Form, Heads, Method, attend, qk, weights
from ovseg.clip.towers import (
    block_heads,
    check_visual,
    embed_pixels,
    feed_forward,
    merge_heads,
    patch_size,
    pooling_heads,
    pooling_input,
    project_attention,
    project_tokens,
)
from ovseg.errors import UsageError
from ovseg.types import ImageTokens


@dataclass
class Trace:
    """What happened inside, one entry for each block; filled by ``encode_image(..., trace=Trace())``.

    Everything stays in the autograd graph. Nothing is skipped while tracing, so it costs at least what plain
    CLIP costs.

    Attributes:
        attention: (B, heads, 1+N, 1+N) attention weights of the original path.
        new_attention: those of the method's form, None in blocks that the method leaves alone.
        attention_out: (B, 1+N, C) what the attention adds to the original path, before the final norm.
        ffn_out: (B, 1+N, C) what the feed-forward network adds to the original path.
        new_attention_out: (B, 1+N, C) what the attention adds to the changed path, or None.
    """

    attention: list[Tensor] = field(default_factory=list)
    new_attention: list[Tensor | None] = field(default_factory=list)
    attention_out: list[Tensor] = field(default_factory=list)
    ffn_out: list[Tensor] = field(default_factory=list)
    new_attention_out: list[Tensor | None] = field(default_factory=list)


class _Encoded(NamedTuple):
    """Projected tokens: class token (B, D); patches (B, N, D) and changed class token (B, D), or None."""

    class_token: Tensor
    patches: Tensor | None
    bias_token: Tensor | None
    grid: tuple[int, int]


def encode_image(
    visual: nn.Module,
    pixels: Tensor,
    method: Method,
    *,
    patches: bool = True,
    trace: Trace | None = None,
) -> ImageTokens:
    """The projected tokens of a batch of images.

    Args:
        visual: the image tower of an open_clip model.
        pixels: (B, 3, H, W), normalised as the model wants them; H and W are multiples of the patch size.
        method: how dense tokens are made.
        patches: False computes the class token only and gives (B, 0, D) patches with grid (0, 0).
        trace: filled with attention weights and contributions.

    Returns:
        Tokens in float32, not L2-normalised. Gradients flow unless the caller uses ``torch.no_grad``.

    Raises:
        UsageError: H or W is no multiple of the patch size.
        UnsupportedModelError: the image tower has no class token.
    """
    check_visual(visual)
    step = patch_size(visual)
    fits = pixels.ndim == 4 and all(n and n % s == 0 for n, s in zip(pixels.shape[2:], step, strict=True))
    if not fits or pixels.shape[1] != 3:
        raise UsageError(
            f"wanted pixels (B, 3, H, W) with H and W multiples of {step}, got {tuple(pixels.shape)}"
        )
    pixels = pixels.to(next(visual.parameters()).dtype)
    if isinstance(visual, VisionTransformer):
        found = _encode_vit(visual, pixels, method, patches, trace)
    else:
        assert isinstance(visual, ModifiedResNet)  # check_visual knows no other
        found = _encode_resnet(visual, pixels, method, patches, trace)
    token = found.class_token.float()
    if found.patches is None:
        return ImageTokens(token[:, None][:, :0], token, (0, 0))
    bias = None if found.bias_token is None else found.bias_token.float()
    return ImageTokens(found.patches.float(), token, found.grid, bias)


# ---------------------------------------------------------------------------------------- ViT


def _encode_vit(
    visual: VisionTransformer, pixels: Tensor, method: Method, patches: bool, trace: Trace | None
) -> _Encoded:
    x, grid = embed_pixels(visual, pixels, method.resize)  # original path, (B, 1+N, C)
    new: Tensor | None = None  # changed path: patches only, or all tokens where it feeds itself
    blocks = list(visual.transformer.resblocks)
    first = max(0, len(blocks) - method.blocks) if patches else len(blocks)
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        changed = index >= first
        class_only = last and (changed or not patches) and trace is None
        shared = changed and (method.paths == 2 or index == first)  # the changed path reads x's heads
        heads = block_heads(block, x, grid, queries=not class_only or (shared and method.needs_queries))
        if changed:
            new = _changed_path(block, x, new, heads, method, last, shared, trace)
        elif trace is not None:
            trace.new_attention.append(None)
            trace.new_attention_out.append(None)
        x = _original_path(block, x, heads, class_only, trace)
    class_token = project_tokens(visual, x[:, :1])[:, 0]
    if not patches:
        return _Encoded(class_token, None, None, grid)
    tokens = project_tokens(visual, x[:, 1:] if new is None else new)
    if method.class_token_weight:
        return _Encoded(class_token, tokens[:, 1:], tokens[:, 0], grid)
    return _Encoded(class_token, tokens, None, grid)


def _original_path(
    block: ResidualAttentionBlock, x: Tensor, heads: Heads, class_only: bool, trace: Trace | None
) -> Tensor:
    if class_only:
        x, heads = x[:, :1], heads._replace(q=heads.q[:, :, :1])
    if trace is None:
        out = project_attention(block, attend(qk(heads), heads.v))
    else:
        share = weights(qk(heads), heads.v)
        out = project_attention(block, share @ heads.v)
        trace.attention.append(share)
        trace.attention_out.append(out)
    x = x + out
    out = feed_forward(block, x)
    if trace is not None:
        trace.ffn_out.append(out)
    return x + out


def _changed_path(
    block: ResidualAttentionBlock,
    x: Tensor,
    new: Tensor | None,
    heads: Heads,
    method: Method,
    last: bool,
    shared: bool,
    trace: Trace | None,
) -> Tensor:
    # A path that feeds itself keeps its class token until the last block, or beyond where a method reads it.
    patches_only = (last or method.paths == 2) and not method.class_token_weight
    start = 1 if patches_only else 0
    if not shared:
        assert new is not None  # the first changed block is always shared
        heads = block_heads(block, new, heads.grid)
    before = x if new is None else new
    before = before[:, before.shape[1] - (x.shape[1] - start) :]  # the rows this block goes on with
    terms = method.form(heads)
    if trace is None:
        out = project_attention(block, attend(terms, heads.v, start))
    else:
        share = weights(terms, heads.v)
        full = project_attention(block, share @ heads.v)
        trace.new_attention.append(share)
        trace.new_attention_out.append(full)
        out = full[:, start:]
    new = before + out if method.residual else out
    return new + feed_forward(block, new) if method.ffn else new


# ------------------------------------------------------------------------------------- ResNet


def _encode_resnet(
    visual: ModifiedResNet, pixels: Tensor, method: Method, patches: bool, trace: Trace | None
) -> _Encoded:
    """One attention pooling at the end: the method's form for the patches, no residual and no feed-forward."""
    x, grid = pooling_input(visual, pixels, method.resize)
    pool = visual.attnpool
    form = method.form if method.blocks else qk
    queries = (patches and (form is qk or method.needs_queries)) or trace is not None
    heads = pooling_heads(pool, x, grid, queries)
    if trace is not None:
        class_token, new = _trace_pool(pool, heads, form, trace)
    else:
        own = heads._replace(q=heads.q[:, :, :1])
        class_token = pool.c_proj(merge_heads(attend(qk(own), heads.v)))[:, 0]
        if not patches:
            return _Encoded(class_token, None, None, grid)
        start = 0 if method.class_token_weight else 1
        new = pool.c_proj(merge_heads(attend(form(heads), heads.v, start=start)))
    if not patches:
        return _Encoded(class_token, None, None, grid)
    if method.class_token_weight:
        return _Encoded(class_token, new[:, 1:], new[:, 0], grid)
    return _Encoded(class_token, new[:, 1:] if trace is not None else new, None, grid)


def _trace_pool(pool: AttentionPool2d, heads: Heads, form: Form, trace: Trace) -> tuple[Tensor, Tensor]:
    """Class token (B, D) and all changed tokens (B, 1+N, D) by explicit weights, so that gradients reach them."""
    original, new = (weights(terms, heads.v) for terms in (qk(heads), form(heads)))
    original_out, new_out = (pool.c_proj(merge_heads(share @ heads.v)) for share in (original, new))
    trace.attention.append(original)
    trace.attention_out.append(original_out)
    trace.new_attention.append(new)
    trace.new_attention_out.append(new_out)
    return original_out[:, 0], new_out
