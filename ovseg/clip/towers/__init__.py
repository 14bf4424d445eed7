"""Image towers, read part by part and never changed: one adapter for each family.

``encoder.py`` computes new tokens beside the tower's own modules; what it needs of a tower is in ``base.py``.
A further family is a further adapter, and a line in ``tower_of``.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ovseg.clip.attention import Method
from ovseg.clip.plain import VisionTransformer, is_a, is_exactly
from ovseg.clip.pooled import PooledTrunk
from ovseg.clip.towers.base import BlockTower, Tower, resize_positions
from ovseg.clip.towers.convolutions import CellTower, PooledTrunkTower, PoolingTower, ResNetTower
from ovseg.clip.towers.openclip import OpenClipViT
from ovseg.errors import UnsupportedModelError

__all__ = [
    "BlockTower", "CellTower", "OpenClipViT", "PooledTrunkTower", "PoolingTower", "ResNetTower", "Tower",
    "check_method", "resize_positions", "tower_of",
]  # fmt: skip


def tower_of(visual: nn.Module) -> Tower:
    """The adapter of an image tower.

    Args:
        visual: the image tower of an embedded model, or of one of open_clip's.

    Raises:
        UnsupportedModelError: ovseg cannot read its tokens.
    """
    model: Any = visual  # nn.Module declares none of the attributes of these classes
    if isinstance(visual, PooledTrunk):
        return PooledTrunkTower(visual)
    if isinstance(visual, VisionTransformer) or is_a(visual, "open_clip.transformer.VisionTransformer"):
        return OpenClipViT(model)
    if is_a(visual, "open_clip.modified_resnet.ModifiedResNet"):
        return ResNetTower(model)
    if not is_a(visual, "open_clip.timm_model.TimmModel"):
        raise UnsupportedModelError(
            "expected open_clip's VisionTransformer, ModifiedResNet or TimmModel as the image tower, "
            f"got {type(visual).__name__}"
        )
    if is_exactly(model.trunk, "timm.models.vision_transformer.VisionTransformer", "timm.models.eva.Eva"):
        from ovseg.clip.towers.timm_vit import TimmViT  # with timm

        return TimmViT(model)
    if is_exactly(model.trunk, "timm.models.convnext.ConvNeXt", "timm.models.fastvit.FastVit"):
        return CellTower(model)
    raise UnsupportedModelError(
        "expected timm's VisionTransformer, Eva, ConvNeXt or FastVit as the image tower, "
        f"got {type(model.trunk).__name__}"
    )


def check_method(visual: nn.Module, method: Method) -> None:
    """Raise UnsupportedModelError if this image tower has no attention that ``method`` could replace."""
    tower = tower_of(visual)
    if isinstance(tower, CellTower):
        tower.check_method(method)
