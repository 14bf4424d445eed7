"""Convolutions, and one attention pooling at the end that methods work in: CLIP's ResNets, and "small"."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from torch import Tensor, nn

from ovseg.clip.attention import Heads
from ovseg.clip.pooled import STRIDE, PooledTrunk
from ovseg.clip.towers.base import Tower, merge_heads, resize_positions, split_heads


class PoolingTower(Tower):
    """A convolutional tower under open_clip's attention pooling, which reads the mean of the places first.

    Attributes:
        pool: the attention pooling.
        stages: what comes before it, in order, the stem left out.
    """

    pool: AttentionPool2d
    stages: Sequence[nn.Module]

    @abstractmethod
    def cells(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to the last feature map (B, C, h, w)."""

    def pooling_input(self, cells: Tensor, how: str) -> tuple[Tensor, tuple[int, int]]:
        """The last feature map (B, C, h, w) to the attention pooling's input (B, 1+N, C), and (h, w)."""
        grid = (cells.shape[2], cells.shape[3])
        x = cells.flatten(2).transpose(1, 2)  # (B, N, C)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        (height, width), (down, right) = self.native_size, self.patch_size
        native = (height // down, width // right)
        return x + resize_positions(self.pool.positional_embedding, native, grid, how).to(x.dtype), grid

    def pooling_heads(self, x: Tensor, grid: tuple[int, int], queries: bool) -> Heads:
        """Queries, keys and values of the attention pooling; only the mean's query if not ``queries``."""
        pool = self.pool
        q, k, v = (
            split_heads(u, pool.num_heads)
            for u in (pool.q_proj(x if queries else x[:, :1]), pool.k_proj(x), pool.v_proj(x))
        )
        return Heads(q, k, v, x, grid)

    def project(self, x: Tensor) -> Tensor:
        """The pooling's output (B, heads, n, d) in the common space, (B, n, D)."""
        return self.pool.c_proj(merge_heads(x))


class ResNetTower(PoolingTower):
    """open_clip's ModifiedResNet."""

    def __init__(self, visual: ModifiedResNet) -> None:
        size = visual.image_size
        self.visual, self.pool = visual, visual.attnpool
        self.stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
        self.family = "open_clip ResNet, attention pooling"
        self.patch_size = (32, 32)  # the total stride
        self.native_size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def cells(self, pixels: Tensor) -> Tensor:
        visual = self.visual
        x = visual.stem(pixels)
        for layer in self.stages:
            x = layer(x)
        return x


class PooledTrunkTower(PoolingTower):
    """The image tower of the embedded model "small"."""

    def __init__(self, visual: PooledTrunk) -> None:
        self.visual, self.pool = visual, visual.attnpool
        self.stages = (*visual.trunk.blocks, visual.head)
        self.family = "timm EfficientNet, head per place, attention pooling"
        self.patch_size = (STRIDE, STRIDE)
        self.native_size = visual.image_size

    def cells(self, pixels: Tensor) -> Tensor:
        return self.visual.places(pixels)
