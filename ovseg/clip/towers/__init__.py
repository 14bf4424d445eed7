"""Image towers of open_clip, read part by part and never changed: one adapter for each family.

``encoder.py`` computes new tokens beside the tower's own modules; what it needs of a tower is in ``base.py``.
A further family is a further adapter, and a line in ``tower_of``.
"""

from __future__ import annotations

from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import nn

from ovseg.clip.attention import Method
from ovseg.clip.pooled import PooledTrunk
from ovseg.clip.towers.base import BlockTower, Tower, resize_positions
from ovseg.clip.towers.cells import CellTower
from ovseg.clip.towers.openclip import OpenClipViT
from ovseg.clip.towers.resnet import PooledTrunkTower, PoolingTower, ResNetTower
from ovseg.clip.towers.timm_vit import TimmViT
from ovseg.errors import UnsupportedModelError

__all__ = [
    "BlockTower", "CellTower", "OpenClipViT", "PooledTrunkTower", "PoolingTower", "ResNetTower",
    "TimmViT", "Tower",
    "check_method", "check_visual", "native_size", "patch_size", "resize_positions", "tower_of",
]  # fmt: skip


def tower_of(visual: nn.Module) -> Tower:
    """The adapter of an image tower.

    Args:
        visual: the image tower of an open_clip model.

    Raises:
        UnsupportedModelError: its tokens cannot be read here.
    """
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual)
    if isinstance(visual, PooledTrunk):
        return PooledTrunkTower(visual)
    if isinstance(visual, VisionTransformer):
        return OpenClipViT(visual)
    if not isinstance(visual, TimmModel):
        raise UnsupportedModelError(
            "expected open_clip's VisionTransformer, ModifiedResNet or TimmModel as the image tower, "
            f"got {type(visual).__name__}"
        )
    trunk = visual.trunk
    if type(trunk) in (TimmVisionTransformer, Eva):
        return TimmViT(visual)
    if type(trunk) in (ConvNeXt, FastVit):
        return CellTower(visual)
    raise UnsupportedModelError(
        "expected timm's VisionTransformer, Eva, ConvNeXt or FastVit as the image tower, "
        f"got {type(trunk).__name__}"
    )


def check_visual(visual: nn.Module) -> None:
    """Raise UnsupportedModelError unless ``visual`` is an image tower whose tokens can be read here."""
    tower_of(visual)


def check_method(visual: nn.Module, method: Method) -> None:
    """Raise UnsupportedModelError if this image tower has no attention that ``method`` could replace."""
    tower = tower_of(visual)
    if isinstance(tower, CellTower):
        tower.check_method(method)


def patch_size(visual: nn.Module) -> tuple[int, int]:
    """Pixels of one place, (height, width): the patch of a ViT, the total stride of convolutions."""
    return tower_of(visual).patch_size


def native_size(visual: nn.Module) -> tuple[int, int]:
    """The input (height, width) in pixels that the tower was built for, in whole patches."""
    return tower_of(visual).native_size
