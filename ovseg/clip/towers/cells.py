"""Towers that average over the cells of their last feature map: ConvNeXt and FastViT (MobileCLIP).

Every cell goes through the tower's norm and head as if the map had this cell alone. There is no attention at
the end that mixes cells with the rest of the image, so there is nothing for a method to replace: the
untouched tokens (``clip``) and those without attention (``maskclip``) are the same, and any other method is
refused. FastViT has attention in its last stages, but with no class token and followed by convolutions; the
methods' papers say nothing of such blocks, and they stay as they are.
"""

from __future__ import annotations

from typing import Any

from open_clip.timm_model import TimmModel
from torch import Tensor

from ovseg.clip.attention import Method, identity
from ovseg.clip.towers.base import Tower
from ovseg.errors import UnsupportedModelError


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
