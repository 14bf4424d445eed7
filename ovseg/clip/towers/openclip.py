"""open_clip's own ViT: with class token (CLIP), the mean of places (CLIPA) or attention pooling (CoCa)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip import plain
from ovseg.clip.attention import Heads
from ovseg.clip.plain import is_a
from ovseg.clip.towers.base import BlockTower, Layout, merge_heads, resize_positions, split_heads
from ovseg.errors import UnsupportedModelError

if TYPE_CHECKING:
    from open_clip.transformer import VisionTransformer


class OpenClipViT(BlockTower):
    """open_clip's VisionTransformer, and the embedded model's.

    Every one of them has a class token, also where the pooling ignores it.
    """

    prefix = 1

    def __init__(self, visual: VisionTransformer | plain.VisionTransformer) -> None:
        pool: Any = visual.attn_pool
        if (
            visual.pool_type not in ("tok", "avg")
            or getattr(visual, "attn_pool_contrastive", None) is not None
        ):
            kind = visual.pool_type if pool is None else f"{visual.attn_pool_type} attentional"
            raise UnsupportedModelError(
                "expected an image tower with a class token, average or attentional pooling, "
                f"got {kind} pooling"
            )
        for block in visual.transformer.resblocks:
            if not (
                isinstance(block, plain.Block) or is_a(block, "open_clip.transformer.ResidualAttentionBlock")
            ):
                raise UnsupportedModelError(
                    f"expected open_clip's ResidualAttentionBlock, got {type(block).__name__}"
                )
        self.visual: Any = visual
        self.pool = pool
        self.blocks = list(visual.transformer.resblocks)
        pooling = "attention pooling" if pool is not None else "class token"
        self.family = f"open_clip ViT, {'average' if visual.pool_type == 'avg' else pooling}"
        self.reads_class_token = visual.pool_type == "tok" and pool is None
        self.patch_size = visual.patch_size
        self.native_size = (int(visual.image_size[0]), int(visual.image_size[1]))

    def embed(self, pixels: Tensor, how: str) -> tuple[Tensor, Layout]:
        visual = self.visual
        x = visual.conv1(pixels)  # (B, C, h, w)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # (B, N, C)
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        native = (int(visual.grid_size[0]), int(visual.grid_size[1]))
        x = x + resize_positions(visual.positional_embedding, native, grid, how).to(x.dtype)
        return visual.ln_pre(x), Layout(grid)

    def heads(self, block: nn.Module, x: Tensor, layout: Layout, queries: bool = True) -> Heads:
        parts: Any = block  # nn.Module declares none of the attributes of its kinds
        attn, h = parts.attn, parts.ln_1(x)
        if queries:
            q, k, v = F.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
        else:
            width = h.shape[-1]
            weight, bias = attn.in_proj_weight, attn.in_proj_bias
            q = F.linear(h[:, :1], weight[:width], bias[:width])
            k, v = F.linear(h, weight[width:], bias[width:]).chunk(2, dim=-1)
        q, k, v = (split_heads(u, attn.num_heads) for u in (q, k, v))
        return Heads(q, k, v, h, layout.grid)

    def project_attention(self, block: nn.Module, x: Tensor) -> Tensor:
        parts: Any = block
        added: Tensor = parts.ls_1(parts.attn.out_proj(merge_heads(x)))
        return added

    def feed_forward(self, block: nn.Module, x: Tensor) -> Tensor:
        parts: Any = block
        added: Tensor = parts.ls_2(parts.mlp(parts.ln_2(x)))
        return added

    def pooled(self, x: Tensor) -> Tensor:
        visual = self.visual
        if self.pool is not None:  # the places are now the pooling's queries
            x = self.pool(x)
        if visual.pool_type == "tok":
            return self._project(visual.ln_post(x[:, :1]))[:, 0]
        if visual.final_ln_after_pool and self.pool is None:
            return self._project(visual.ln_post(x[:, 1:].mean(dim=1)))
        return self._project(visual.ln_post(x[:, 1:]).mean(dim=1))

    def places(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = _values(self.pool, x)
        return self._project(self.visual.ln_post(x))

    def _project(self, x: Tensor) -> Tensor:
        return x if self.visual.proj is None else x @ self.visual.proj


def _values(pool: Any, x: Tensor) -> Tensor:
    """What the pooling gives for each token alone: its value through the output projection, (B, n, C')."""
    attn, h = pool.attn, pool.ln_k(x)
    width = attn.embed_dim
    bias = None if attn.in_proj_bias is None else attn.in_proj_bias[2 * width :]
    # A MultiheadAttention keeps its weights apart where its context has another width than its queries.
    weight = attn.v_proj_weight if attn.in_proj_weight is None else attn.in_proj_weight[2 * width :]
    found: Tensor = attn.out_proj(F.linear(h, weight, bias))
    return found
