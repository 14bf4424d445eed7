"""timm's transformers: ViT (SigLIP, MobileCLIP-B, ViTamin) and Eva (EVA-CLIP, PE-Core).

Queries and keys are taken as a block's own attention compares them, that is after its norms and after the
rotation by their places (EVA-02, PE-Core). A self-self attention of queries or keys is then relative to the
distance of two places, as the block's own attention is; values are never turned, so v-v attention is the same
for every family.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from open_clip.timm_model import TimmModel
from timm.layers.attention import Attention, AttentionRope
from timm.layers.attention_pool import AttentionPoolLatent
from timm.layers.hybrid_embed import HybridEmbed
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, apply_rot_embed_cat, build_rotary_pos_embed
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.attention import Heads
from ovseg.clip.towers.base import BlockTower, Layout, merge_heads, resize_positions, split_heads
from ovseg.errors import UnsupportedModelError

_BLOCKS = (Block, EvaBlock, EvaBlockPostNorm)
_ATTENTIONS = (Attention, AttentionRope, EvaAttention)


class TimmViT(BlockTower):
    """timm's VisionTransformer or Eva inside open_clip's TimmModel."""

    def __init__(self, visual: TimmModel) -> None:
        trunk = cast("VisionTransformer | Eva", visual.trunk)
        _check(trunk)
        embedding = trunk.patch_embed
        ratio = embedding.feature_ratio if isinstance(embedding, HybridEmbed) else (1, 1)
        patch = embedding.patch_size
        self.visual = visual
        self.trunk = trunk
        self.blocks = list(trunk.blocks)
        self.prefix = int(trunk.num_prefix_tokens)
        self.pool = cast("AttentionPoolLatent | None", trunk.attn_pool)
        self.reads_class_token = self.pool is None and trunk.global_pool == "token"
        pooling = {"token": "class token", "avg": "average", "map": "attention pooling"}[trunk.global_pool]
        self.family = f"timm {'Eva' if isinstance(trunk, Eva) else 'ViT'}, {pooling}"
        self.patch_size = (int(ratio[0] * patch[0]), int(ratio[1] * patch[1]))
        # Where the side is no multiple of the patch (SigLIP's 384 and 14), the tower reads no further than
        # this.
        self.grid = (int(embedding.grid_size[0]), int(embedding.grid_size[1]))
        self.native_size = (self.grid[0] * self.patch_size[0], self.grid[1] * self.patch_size[1])

    def embed(self, pixels: Tensor, how: str) -> tuple[Tensor, Layout]:
        trunk, embedding = self.trunk, self.trunk.patch_embed
        if isinstance(embedding, HybridEmbed):
            cells = embedding.backbone(pixels)
            cells = embedding.proj(cells[-1] if isinstance(cells, (list, tuple)) else cells)
        else:
            cells = embedding.proj(pixels)  # (B, C, h, w)
        grid = (cells.shape[2], cells.shape[3])
        x = cells.flatten(2).transpose(1, 2)  # (B, N, C)
        if not isinstance(embedding, HybridEmbed):
            x = embedding.norm(x)
        table = None
        if trunk.pos_embed is not None:
            leading = 0 if trunk.no_embed_class else self.prefix
            table = resize_positions(trunk.pos_embed[0], self.grid, grid, how, leading).to(x.dtype)
        if table is not None and trunk.no_embed_class:
            x = x + table
        if trunk.cls_token is not None:
            x = torch.cat([trunk.cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        if table is not None and not trunk.no_embed_class:
            x = x + table
        return trunk.norm_pre(x), Layout(grid, self._rotary(grid, x.device))

    def _rotary(self, grid: tuple[int, int], device: torch.device) -> Tensor | None:
        rope = getattr(self.trunk, "rope", None)
        if rope is None:
            return None
        assert isinstance(rope, RotaryEmbeddingCat)
        if grid == self.grid:
            return rope.get_embed(shape=list(grid))
        # The module keeps the places of one grid, and must not be changed: built anew by its own rule.
        turned = build_rotary_pos_embed(
            list(grid),
            dim=rope.dim,
            max_res=rope.max_res,
            temperature=rope.temperature,
            linear_bands=rope.linear_bands,
            in_pixels=rope.in_pixels,
            ref_feat_shape=rope.ref_feat_shape,
            grid_offset=rope.grid_offset,
            grid_indexing=rope.grid_indexing,
            device=device,
        )
        return torch.cat(turned, dim=-1)

    def heads(self, block: nn.Module, x: Tensor, layout: Layout, queries: bool = True) -> Heads:
        parts: Any = block  # nn.Module declares none of the attributes of timm's classes
        attn = parts.attn
        h = x if isinstance(block, EvaBlockPostNorm) else parts.norm1(x)
        q, k, v = (split_heads(u, attn.num_heads) for u in _queries_keys_values(attn, h, queries))
        q, k = attn.q_norm(q), attn.k_norm(k)
        if layout.rotary is not None:
            q, k = (_turn(u, layout.rotary, self.prefix).to(v.dtype) for u in (q, k))
        return Heads(q, k, v, h, layout.grid, self.prefix)

    def project_attention(self, block: nn.Module, x: Tensor) -> Tensor:
        parts: Any = block
        x = merge_heads(x)
        norm = getattr(parts.attn, "norm", None)  # EVA-02's, which timm's older Attention lacks
        out = parts.attn.proj(x if norm is None else norm(x))
        if isinstance(block, EvaBlockPostNorm):
            return parts.norm1(out)
        if isinstance(block, EvaBlock):
            return out if block.gamma_1 is None else block.gamma_1 * out
        return parts.ls1(out)

    def feed_forward(self, block: nn.Module, x: Tensor) -> Tensor:
        parts: Any = block
        if isinstance(block, EvaBlockPostNorm):
            return parts.norm2(parts.mlp(x))
        out = parts.mlp(parts.norm2(x))
        if isinstance(block, EvaBlock):
            return out if block.gamma_2 is None else block.gamma_2 * out
        return parts.ls2(out)

    def pooled(self, x: Tensor) -> Tensor:
        return self.visual.head(self.trunk.forward_head(self.trunk.norm(x)))

    def places(self, x: Tensor) -> Tensor:
        trunk = self.trunk
        x = trunk.norm(x)
        if self.pool is not None:
            x = _values(self.pool, x)
        return self.visual.head(trunk.head(trunk.fc_norm(x)))


def _values(pool: AttentionPoolLatent, x: Tensor) -> Tensor:
    """What the pooling gives for each token alone, (B, n, C): its value, projected, and the feed-forward."""
    x = pool.proj(pool.kv(x).chunk(2, dim=-1)[1])
    return x if pool.mlp is None else x + pool.mlp(pool.norm(x))


def _check(trunk: VisionTransformer | Eva) -> None:
    """Raise UnsupportedModelError for what timm can build and no model of open_clip's uses."""
    kind, pool = type(trunk).__name__, trunk.attn_pool
    if not isinstance(trunk.patch_embed, (PatchEmbed, HybridEmbed)):
        raise UnsupportedModelError(
            f"expected patches of timm's PatchEmbed or HybridEmbed, got {type(trunk.patch_embed).__name__}"
        )
    if trunk.num_prefix_tokens > 1 or getattr(trunk, "reg_token", None) is not None:
        raise UnsupportedModelError(
            f"expected a {kind} with a class token or none, got {trunk.num_prefix_tokens} leading tokens"
        )
    if pool is None and trunk.global_pool not in ("token", "avg"):
        raise UnsupportedModelError(
            f"expected a {kind} with class token, average or attention pooling, "
            f"got {trunk.global_pool!r} pooling"
        )
    if pool is not None and not (isinstance(pool, AttentionPoolLatent) and pool.pos_embed is None):
        raise UnsupportedModelError(
            f"expected timm's AttentionPoolLatent without positions, got {type(pool).__name__}"
        )
    rope = getattr(trunk, "rope", None)
    if rope is not None and (type(rope) is not RotaryEmbeddingCat or getattr(rope, "rotate_half", False)):
        raise UnsupportedModelError(
            f"expected timm's interleaved RotaryEmbeddingCat or none, got {type(rope).__name__}"
        )
    for block in trunk.blocks:
        _check_block(block)


def _check_block(block: nn.Module) -> None:
    """Raise UnsupportedModelError unless the block is one of those that are read here."""
    if type(block) not in _BLOCKS:
        raise UnsupportedModelError(
            f"expected timm's Block, EvaBlock or EvaBlockPostNorm, got {type(block).__name__}"
        )
    attn = block.attn
    if type(attn) not in _ATTENTIONS:
        raise UnsupportedModelError(
            f"expected timm's Attention, AttentionRope or EvaAttention, got {type(attn).__name__}"
        )
    if getattr(attn, "gate", None) is not None or getattr(attn, "num_kv_groups", 1) != 1:
        raise UnsupportedModelError(
            "expected attention without gates and with as many keys as queries, "
            f"got another {type(attn).__name__}"
        )


def _queries_keys_values(attn: Any, h: Tensor, queries: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Three times (B, N, C), of the query the first token only if not ``queries``."""
    read = h if queries else h[:, :1]
    if attn.qkv is None:  # EVA-02 keeps the three apart
        return attn.q_proj(read), attn.k_proj(h), attn.v_proj(h)
    weight, bias = attn.qkv.weight, attn.qkv.bias
    if getattr(attn, "q_bias", None) is not None:  # EVA has no bias of keys
        bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
    if queries:
        q, k, v = F.linear(h, weight, bias).chunk(3, dim=-1)
        return q, k, v
    width = weight.shape[0] // 3
    q = F.linear(read, weight[:width], None if bias is None else bias[:width])
    k, v = F.linear(h, weight[width:], None if bias is None else bias[width:]).chunk(2, dim=-1)
    return q, k, v


def _turn(x: Tensor, rotary: Tensor, prefix: int) -> Tensor:
    """Queries or keys (B, heads, P+N, d) rotated by their places; leading tokens have no place."""
    if x.shape[2] == prefix:  # the class token's query alone
        return x
    turned = apply_rot_embed_cat(x[:, :, prefix:], rotary)
    return torch.cat([x[:, :, :prefix], turned], dim=2)
