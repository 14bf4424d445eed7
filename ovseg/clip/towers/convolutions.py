"""Convolutional towers: with one attention pooling at the end (CLIP's ResNets, "small"), or with an average.

Methods work in the attention pooling.

Towers that average over the cells of their last feature map (ConvNeXt; FastViT of MobileCLIP): every cell goes
through the tower's norm and head as if the map had this cell alone. There is no attention at the end that
mixes cells with the rest of the image, so there is nothing for a method to replace: the untouched tokens
(``clip``) and those without attention (``maskclip``) are the same, and any other method is refused. FastViT has
attention in its last stages, but with no class token and followed by convolutions; the methods' papers say
nothing of such blocks, and they stay as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ovseg.clip.attention import Heads, Method, identity
from ovseg.clip.pooled import STRIDE, PooledTrunk
from ovseg.clip.towers.base import Tower, merge_heads, resize_positions, split_heads
from ovseg.errors import UnsupportedModelError

if TYPE_CHECKING:
    from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
    from open_clip.timm_model import TimmModel

    from ovseg.clip.pooled import AttentionPool


class PoolingTower(Tower):
    """A convolutional tower under open_clip's attention pooling, which reads the mean of the places first.

    Attributes:
        pool: the attention pooling.
        stages: what comes before it, in order, the stem left out.
    """

    pool: AttentionPool2d | AttentionPool
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


class CellTower(Tower):
    """timm's ConvNeXt or FastVit inside open_clip's TimmModel, with average pooling."""

    def __init__(self, visual: TimmModel) -> None:
        trunk: Any = visual.trunk  # ConvNeXt or FastVit
        pool = getattr(getattr(trunk.head, "global_pool", None), "pool_type", None)
        if pool != "avg":
            raise UnsupportedModelError(
                f"expected a {type(trunk).__name__} with average pooling, got {pool or 'no'} pooling"
            )
        stride = int(trunk.feature_info[-1]["reduction"])
        self.visual = visual
        self.trunk = trunk
        self.family = f"timm {type(trunk).__name__}, average over cells"
        self.patch_size = (stride, stride)
        self.native_size = (int(visual.image_size[0]), int(visual.image_size[1]))

    def check_method(self, method: Method) -> None:
        """Raise UnsupportedModelError for a method that would replace attention."""
        if method.blocks and (method.form is not identity or method.class_token_weight):
            kind = type(self.trunk).__name__
            raise UnsupportedModelError(
                f"expected method 'clip' or 'maskclip' for a {kind}, which averages over its cells and has no "
                f"attention to replace, got {method.name!r}"
            )

    def cells(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to the last feature map (B, C, h, w)."""
        return self.trunk.forward_features(pixels)

    def pooled(self, cells: Tensor) -> Tensor:
        """The image's feature (B, D), as the tower makes it."""
        return self.visual.head(self.trunk.forward_head(cells))

    def places(self, cells: Tensor) -> Tensor:
        """Each cell's feature in the common space, (B, h*w, D)."""
        batch, width = cells.shape[:2]
        single = cells.flatten(2).transpose(1, 2).reshape(-1, width, 1, 1)  # as many maps of one cell
        return self.pooled(single).unflatten(0, (batch, -1))
