"""Encode images as tokens: the changed path is computed beside open_clip's own modules, which are only read.

    pixels ─ patch embedding + position ─ blocks ─┬─ original path ─> class token
                                                  └─ changed path ──> patch tokens

Why two paths. The dense tokens of a CLIP are poor because its last blocks mix every patch with the rest of
the image; a method replaces the attention of those blocks. But the class token must stay what the model was
trained to give, for recognition, presence and feature surgery, and in methods such as CLIP Surgery the
queries, keys and values of a changed block come from the *original* tokens: computed from changed tokens they
would drift away from what the block's weights expect (Table 4 of the paper: mSC falls from 32.3 to −7.7). So
both are carried along: the original tokens ``x`` run through every block unchanged, and the changed tokens
``new`` start as a copy of ``x`` at the first changed block and collect ``P(attention)`` from there on (Eq.
6-7). A method with one path feeds its changed tokens back into the next changed block instead. Of the last
block only what is read is computed: one query and one feed-forward token for the class token, and attention
rows of patches for the changed path.

Towers without a class token, or that pool otherwise (SigLIP, CLIPA, CoCa, PE-Core), have the same two paths:
the tower's own pooling of the original path is handed out as the class token, and all of its last block is
computed. ``towers/base.py`` says what a place means there. Below, P is the number of leading tokens, 1 or 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ovseg.clip.attention import Form, Heads, Method, attend, qk, weights
from ovseg.clip.towers import BlockTower, CellTower, PoolingTower, tower_of
from ovseg.clip.towers.base import Layout
from ovseg.errors import UnsupportedModelError, UsageError, WeightsError
from ovseg.results.base import ImageTokens


@dataclass
class Trace:
    """Intermediate results, one entry for each traced block; filled by ``encode_image(..., trace=Trace())``.

    Everything stays in the autograd graph. Nothing is skipped while tracing, so it costs at least what plain
    CLIP costs.

    Attributes:
        blocks: how many of the last blocks are traced, at least those that the method changes; None for all
            of them. With a number the graph begins at the first traced block: what comes before is computed
            without it, and gradients can be taken with respect to ``tokens[0]``.
        tokens: the tokens of the original path, one entry more than blocks: (B, P+N, C) that the first traced
            block gets, then what each block gives. Of a ResNet only its last feature map, (B, C, h, w).
        heads: queries, keys and values of the original path.
        attention: (B, heads, P+N, P+N) attention weights of the original path.
        new_attention: those of the method's form, None in blocks that the method leaves alone.
        attention_out: (B, P+N, C) what the attention adds to the original path, before the final norm.
        ffn_out: (B, P+N, C) what the feed-forward network adds to the original path.
        new_attention_out: (B, P+N, C) what the attention adds to the changed path, or None.
    """

    blocks: int | None = None
    tokens: list[Tensor] = field(default_factory=list)
    heads: list[Heads] = field(default_factory=list)
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
        WeightsError: a feature is not finite.
        UnsupportedModelError: the image tower's tokens cannot be read, or it has no attention that the method
            could replace or that could be traced.
    """
    tower = tower_of(visual)
    step = tower.patch_size
    fits = pixels.ndim == 4 and all(n and n % s == 0 for n, s in zip(pixels.shape[2:], step, strict=True))
    if not fits or pixels.shape[1] != 3:
        raise UsageError(
            f"expected pixels (B, 3, H, W) with H and W multiples of {step}, got {tuple(pixels.shape)}"
        )
    pixels = pixels.to(next(visual.parameters()).dtype)
    if isinstance(tower, BlockTower):
        found = _encode_blocks(tower, pixels, method, patches, trace)
    elif isinstance(tower, PoolingTower):
        found = _encode_resnet(tower, pixels, method, patches, trace)
    else:
        assert isinstance(tower, CellTower)  # tower_of knows no other
        found = _encode_cells(tower, pixels, method, patches, trace)
    token = found.class_token.float()
    _check_finite(token, found.patches, pixels.dtype)
    if found.patches is None:
        return ImageTokens(token[:, None][:, :0], token, (0, 0))
    bias = None if found.bias_token is None else found.bias_token.float()
    return ImageTokens(found.patches.float(), token, found.grid, bias)


def _check_finite(token: Tensor, patches: Tensor | None, dtype: torch.dtype) -> None:
    """Raise WeightsError for NaN or infinity, which would become a confident answer further on."""
    if token.is_meta or torch.compiler.is_compiling():  # has no values, or must not branch on them
        return
    if not (token.isfinite().all() and (patches is None or patches.isfinite().all())):
        kind = str(dtype).removeprefix("torch.")
        hint = ": half precision overflows here, take fp32 or bf16" if dtype == torch.float16 else ""
        raise WeightsError(f"expected finite features, the image tower gives NaN or infinity in {kind}{hint}")


def _encode_blocks(
    tower: BlockTower, pixels: Tensor, method: Method, patches: bool, trace: Trace | None
) -> _Encoded:
    x, layout = tower.embed(pixels, method.resize)  # original path, (B, P+N, C)
    new: Tensor | None = None  # changed path: patches only, or all tokens where it feeds itself
    blocks = tower.blocks
    first = max(0, len(blocks) - method.blocks) if patches else len(blocks)
    start = 0
    if trace is not None:
        if trace.blocks is not None:
            start = max(0, min(len(blocks) - trace.blocks, first))
            x = _without_graph(tower, x, layout, start)
        trace.tokens.append(x)
    for index, block in enumerate(blocks[start:], start):
        last = index == len(blocks) - 1
        changed = index >= first
        class_only = tower.reads_class_token and last and (changed or not patches) and trace is None
        shared = changed and (method.paths == 2 or index == first)  # the changed path reads x's heads
        queries = not class_only or (shared and method.needs_queries)
        heads = tower.heads(block, x, layout, queries=queries)
        if changed:
            new = _changed_path(tower, block, x, new, heads, layout, method, last, shared, trace)
        elif trace is not None:
            trace.new_attention.append(None)
            trace.new_attention_out.append(None)
        x = _original_path(tower, block, x, heads, class_only, trace)
    class_token = tower.pooled(x[:, :1] if tower.reads_class_token else x)
    if not patches:
        return _Encoded(class_token, None, None, layout.grid)
    if method.class_token_weight:  # of a method that changes blocks, so that all tokens of its path are here
        assert new is not None
        places = tower.places(new[:, tower.prefix :])
        return _Encoded(class_token, places, tower.pooled(new), layout.grid)
    places = tower.places(x[:, tower.prefix :] if new is None else new)
    return _Encoded(class_token, places, None, layout.grid)


def _without_graph(tower: BlockTower, x: Tensor, layout: Layout, count: int) -> Tensor:
    """The original path's tokens after ``count`` blocks, where a new graph begins."""
    with torch.no_grad():
        for block in tower.blocks[:count]:
            x = _original_path(tower, block, x, tower.heads(block, x, layout), False, None)
    return _graph_begins(x)


def _graph_begins(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(torch.is_grad_enabled())


def _original_path(
    tower: BlockTower, block: nn.Module, x: Tensor, heads: Heads, class_only: bool, trace: Trace | None
) -> Tensor:
    if class_only:
        x, heads = x[:, :1], heads._replace(q=heads.q[:, :, :1])
    if trace is None:
        out = tower.project_attention(block, attend(qk(heads), heads.v))
    else:
        share = weights(qk(heads), heads.v)
        out = tower.project_attention(block, share @ heads.v)
        trace.heads.append(heads)
        trace.attention.append(share)
        trace.attention_out.append(out)
    x = x + out
    out = tower.feed_forward(block, x)
    x = x + out
    if trace is not None:
        trace.ffn_out.append(out)
        trace.tokens.append(x)
    return x


def _changed_path(
    tower: BlockTower,
    block: nn.Module,
    x: Tensor,
    new: Tensor | None,
    heads: Heads,
    layout: Layout,
    method: Method,
    last: bool,
    shared: bool,
    trace: Trace | None,
) -> Tensor:
    # A path that feeds itself keeps its class token until the last block, or beyond where a method reads it.
    patches_only = (last or method.paths == 2) and not method.class_token_weight
    start = tower.prefix if patches_only else 0
    if not shared:
        assert new is not None  # the first changed block is always shared
        heads = tower.heads(block, new, layout)
    before = x if new is None else new
    before = before[:, before.shape[1] - (x.shape[1] - start) :]  # the rows this block goes on with
    if not method.attention:
        if trace is not None:
            trace.new_attention.append(None)
            trace.new_attention_out.append(None)
        return before + tower.feed_forward(block, before) if method.ffn else before
    terms = method.form(heads)
    if trace is None:
        out = tower.project_attention(block, attend(terms, heads.v, start))
    else:
        share = weights(terms, heads.v)
        full = tower.project_attention(block, share @ heads.v)
        trace.new_attention.append(share)
        trace.new_attention_out.append(full)
        out = full[:, start:]
    new = before + out if method.residual else out
    return new + tower.feed_forward(block, new) if method.ffn else new


def _encode_resnet(
    tower: PoolingTower, pixels: Tensor, method: Method, patches: bool, trace: Trace | None
) -> _Encoded:
    """One attention pooling at the end: the method's form for the patches, no residual, no feed-forward."""
    cells = tower.cells(pixels)
    if trace is not None:
        cells = cells if trace.blocks is None else _graph_begins(cells)
        trace.tokens.append(cells)
    x, grid = tower.pooling_input(cells, method.resize)
    form = method.form if method.blocks else qk
    queries = (patches and (form is qk or method.needs_queries)) or trace is not None
    heads = tower.pooling_heads(x, grid, queries)
    if trace is not None:
        class_token, new = _trace_pool(tower, heads, form, trace)
    else:
        own = heads._replace(q=heads.q[:, :, :1])
        class_token = tower.project(attend(qk(own), heads.v))[:, 0]
        if not patches:
            return _Encoded(class_token, None, None, grid)
        start = 0 if method.class_token_weight else 1
        new = tower.project(attend(form(heads), heads.v, start=start))
    if not patches:
        return _Encoded(class_token, None, None, grid)
    if method.class_token_weight:
        return _Encoded(class_token, new[:, 1:], new[:, 0], grid)
    return _Encoded(class_token, new[:, 1:] if trace is not None else new, None, grid)


def _trace_pool(tower: PoolingTower, heads: Heads, form: Form, trace: Trace) -> tuple[Tensor, Tensor]:
    """Class token (B, D) and changed tokens (B, P+N, D) by explicit weights, so that gradients reach them."""
    original, new = (weights(terms, heads.v) for terms in (qk(heads), form(heads)))
    original_out, new_out = (tower.project(share @ heads.v) for share in (original, new))
    trace.heads.append(heads)
    trace.attention.append(original)
    trace.attention_out.append(original_out)
    trace.new_attention.append(new)
    trace.new_attention_out.append(new_out)
    return original_out[:, 0], new_out


def _encode_cells(
    tower: CellTower, pixels: Tensor, method: Method, patches: bool, trace: Trace | None
) -> _Encoded:
    tower.check_method(method)
    if trace is not None:
        raise UnsupportedModelError(
            f"expected a model with attention to trace, got a {type(tower.trunk).__name__}"
        )
    cells = tower.cells(pixels)
    grid = (cells.shape[2], cells.shape[3])
    return _Encoded(tower.pooled(cells), tower.places(cells) if patches else None, None, grid)
