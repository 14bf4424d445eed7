"""CLIP's ResNets: convolutions, and one attention pooling at the end that methods work in."""

from __future__ import annotations

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor

from ovseg.clip.attention import Heads
from ovseg.clip.towers.base import Tower, merge_heads, resize_positions, split_heads


class ResNetTower(Tower):
    """open_clip's ModifiedResNet; its pooling puts the mean of the places first, as a class token."""

    def __init__(self, visual: ModifiedResNet) -> None:
        size = visual.image_size
        self.visual = visual
        self.family = "open_clip ResNet, attention pooling"
        self.patch_size = (32, 32)  # the total stride
        self.native_size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def cells(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to the last feature map (B, C, h, w)."""
        visual = self.visual
        x = visual.stem(pixels)
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = layer(x)
        return x

    def pooling_input(self, cells: Tensor, how: str) -> tuple[Tensor, tuple[int, int]]:
        """The last feature map (B, C, h, w) to the attention pooling's input (B, 1+N, C), and (h, w)."""
        grid = (cells.shape[2], cells.shape[3])
        x = cells.flatten(2).transpose(1, 2)  # (B, N, C)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        height, width = self.native_size
        table = self.visual.attnpool.positional_embedding
        return x + resize_positions(table, (height // 32, width // 32), grid, how).to(x.dtype), grid

    def pooling_heads(self, x: Tensor, grid: tuple[int, int], queries: bool) -> Heads:
        """Queries, keys and values of the attention pooling; only the mean's query if not ``queries``."""
        pool = self.visual.attnpool
        q, k, v = (
            split_heads(u, pool.num_heads)
            for u in (pool.q_proj(x if queries else x[:, :1]), pool.k_proj(x), pool.v_proj(x))
        )
        return Heads(q, k, v, x, grid)

    def project(self, x: Tensor) -> Tensor:
        """The pooling's output (B, heads, n, d) in the common space, (B, n, D)."""
        return self.visual.attnpool.c_proj(merge_heads(x))
