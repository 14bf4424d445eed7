"""The parts of timm's blocks: pre-norm or post-norm, q, k and v together or apart, rotated or not."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.attention import Attention, AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.attention import Heads
from ovseg.clip.towers.base import Layout, merge_heads, split_heads
from ovseg.errors import UnsupportedModelError

_BLOCKS = (Block, EvaBlock, EvaBlockPostNorm)
_ATTENTIONS = (Attention, AttentionRope, EvaAttention)


def check_block(block: nn.Module) -> None:
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


def read_heads(block: nn.Module, x: Tensor, layout: Layout, prefix: int, queries: bool) -> Heads:
    """Queries, keys and values as the block's attention reads them; see ``BlockTower.heads``."""
    parts: Any = block  # nn.Module declares none of the attributes of timm's classes
    attn = parts.attn
    h = x if isinstance(block, EvaBlockPostNorm) else parts.norm1(x)
    q, k, v = (split_heads(u, attn.num_heads) for u in _queries_keys_values(attn, h, queries))
    q, k = attn.q_norm(q), attn.k_norm(k)
    if layout.rotary is not None:
        q, k = (_turn(u, layout.rotary, prefix).to(v.dtype) for u in (q, k))
    return Heads(q, k, v, h, layout.grid, prefix)


def add_attention(block: nn.Module, x: Tensor) -> Tensor:
    """What the attention's output (B, heads, N, d) adds to the tokens, (B, N, C)."""
    parts: Any = block
    x = merge_heads(x)
    norm = getattr(parts.attn, "norm", None)  # EVA-02's, which timm's older Attention lacks
    out = parts.attn.proj(x if norm is None else norm(x))
    if isinstance(block, EvaBlockPostNorm):
        return parts.norm1(out)
    if isinstance(block, EvaBlock):
        return out if block.gamma_1 is None else block.gamma_1 * out
    return parts.ls1(out)


def add_feed_forward(block: nn.Module, x: Tensor) -> Tensor:
    """What the feed-forward network adds to x, (B, N, C)."""
    parts: Any = block
    if isinstance(block, EvaBlockPostNorm):
        return parts.norm2(parts.mlp(x))
    out = parts.mlp(parts.norm2(x))
    if isinstance(block, EvaBlock):
        return out if block.gamma_2 is None else block.gamma_2 * out
    return parts.ls2(out)


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
