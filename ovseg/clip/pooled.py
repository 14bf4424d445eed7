"""The image tower of the embedded model "small": a convolutional trunk under CLIP's attention pooling.

    pixels ─ EfficientNet-Lite2 up to its last 1,280 channels, stride 16 ─ head per place ─ attention pooling

It has the shape of CLIP's ResNets: convolutions, then one attention pooling whose first token is the mean of
all places. So the original maps, architecture surgery and feature surgery mean here what they mean there. The
trunk's last stride is taken out and its last convolutions are dilated instead, which gives four times as many
places from the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import timm
import torch
from open_clip.modified_resnet import AttentionPool2d
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.errors import WeightsError

STRIDE = 16
_TRUNKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
_LARGEST = {"image_size": 1024, "hidden": 8192, "heads": 64}


class TrunkConfig(TypedDict):
    """The arguments of ``PooledTrunk`` that a file tells."""

    trunk: str
    image_size: int
    hidden: int
    heads: int


def check_trunk(config: Mapping[str, object], what: str) -> TrunkConfig:
    """The ``vision_cfg`` of a file with a pooled trunk. Raises WeightsError for anything else."""
    wanted = {"trunk", *_LARGEST}
    if set(config) != wanted:
        raise WeightsError(f"expected a config of {what} with {', '.join(sorted(wanted))}, got others")
    trunk, numbers = config["trunk"], {}
    if trunk not in _TRUNKS:
        raise WeightsError(
            f"expected a config of {what} with a trunk of {', '.join(_TRUNKS)}, got {trunk!r:.60}"
        )
    for key, most in _LARGEST.items():
        value = config[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise WeightsError(f"expected a config of {what} with {key} in 1..{most}, got {value!r:.60}")
        numbers[key] = value
    return TrunkConfig(trunk=str(trunk), **numbers)  # type: ignore[typeddict-item]


class PlaceHead(nn.Module):
    """From the trunk's channels to the pooling's, for each place alone: a linear map and a small network."""

    def __init__(self, channels: int, hidden: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(…, channels) to (…, width)."""
        return self.linear(x) + self.fc2(F.gelu(self.fc1(x)))


class PooledTrunk(nn.Module):
    """The image tower as a whole, in the place of an open_clip model's ``visual``.

    Args:
        embed_dim: D, the size of the common space.
        trunk: timm's name of an EfficientNet.
        image_size: side of the square input that the pooling's positions are made for, in pixels.
        hidden: width of the head's network.
        heads: of the attention pooling.
    """

    def __init__(self, embed_dim: int, trunk: str, image_size: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.image_size = (image_size, image_size)
        self.image_mean = self.image_std = (0.5, 0.5, 0.5)
        made = timm.create_model(trunk, num_classes=0, global_pool="", output_stride=STRIDE)
        assert isinstance(made, EfficientNet)
        self.trunk = made
        self.head = PlaceHead(made.num_features, hidden, embed_dim)
        self.attnpool = AttentionPool2d(image_size // STRIDE, embed_dim, heads, embed_dim)

    def places(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to the pooling's input, (B, D, H/16, W/16), of unit length at each place.

        With one length for all, a place's value is nearest to itself in value-value attention, and not to
        whichever place has the longest.
        """
        # Depthwise convolutions take a quarter less time on channels that lie side by side.
        x = self.trunk.forward_features(pixels.contiguous(memory_format=torch.channels_last))
        return F.normalize(self.head(x.permute(0, 2, 3, 1)), dim=-1).permute(0, 3, 1, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, image_size, image_size) to the image's feature (B, D)."""
        return self.attnpool(self.places(pixels))
