"""The image tower of the embedded model "small": a convolutional trunk under CLIP's attention pooling.

    pixels ─ EfficientNet-Lite up to its last 1,280 channels, stride 16 ─ head per place ─ attention pooling

It has the shape of CLIP's ResNets: convolutions, then one attention pooling whose first token is the mean of
all places. So the original maps, architecture surgery and feature surgery mean here what they mean there. The
trunk's last stride is taken out and its last convolutions are dilated instead, which gives four times as many
places from the same weights. Weights of the trunk have the names of timm's tf_efficientnet_lite models, and
those of the pooling the names of open_clip's.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.plain import normal

STRIDE = 16
TRUNKS = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
}
"""How many times the channels and the units of a stage a trunk has."""
_STEM, _CHANNELS = 32, 1280
_STAGES = (
    # units, kernel, stride, expansion, channels; dilation of the first unit, of the others
    (1, 3, 1, 1, 16, 1, 1),
    (2, 3, 2, 6, 24, 1, 1),
    (2, 5, 2, 6, 40, 1, 1),
    (3, 3, 2, 6, 80, 1, 1),
    (3, 5, 1, 6, 112, 1, 1),
    (4, 5, 1, 6, 192, 1, 2),  # the stage whose stride of 2 is taken out
    (1, 3, 1, 6, 320, 2, 2),
)


class SameConv(nn.Conv2d):
    """A convolution with a stride, padded as TensorFlow does: the odd pixel at the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        (height, width), (step, _), (kernel, _) = x.shape[2:], self.stride, self.kernel_size
        down, right = (max((ceil(n / step) - 1) * step + kernel - n, 0) for n in (height, width))
        return super().forward(F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2)))


def _conv(
    channels: int, out: int, kernel: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    if stride > 1:
        return SameConv(channels, out, kernel, stride, groups=groups, bias=False)
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(channels, out, kernel, 1, padding, dilation, groups, bias=False)


class NormAct(nn.BatchNorm2d):
    """A batch norm and its activation."""

    def __init__(self, channels: int, act: bool = True) -> None:
        super().__init__(channels, eps=1e-3)
        self.act = nn.ReLU6(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return self.act(super().forward(x))


class DepthwiseSeparable(nn.Module):
    """A depthwise convolution, then a pointwise one: the only unit of the first stage."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = _conv(channels, channels, kernel, groups=channels)
        self.bn1 = NormAct(channels)
        self.conv_pw = _conv(channels, out)
        self.bn2 = NormAct(out, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))


class InvertedResidual(nn.Module):
    """More channels, a depthwise convolution among them, fewer channels."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int, dilation: int, expansion: int
    ) -> None:
        super().__init__()
        inner = channels * expansion
        self.has_skip = stride == 1 and channels == out
        self.conv_pw = _conv(channels, inner)
        self.bn1 = NormAct(inner)
        self.conv_dw = _conv(inner, inner, kernel, stride, dilation, groups=inner)
        self.bn2 = NormAct(inner)
        self.conv_pwl = _conv(inner, out)
        self.bn3 = NormAct(out, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        y = self.bn1(self.conv_pw(x))
        y = self.bn2(self.conv_dw(y))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.has_skip else y


class EfficientNetLite(nn.Module):
    """An EfficientNet-Lite without its classifier, at stride 16.

    Args:
        wider: times the channels of each stage, in steps of 8.
        deeper: times the units of each stage but the first and the last.
    """

    def __init__(self, wider: float, deeper: float) -> None:
        super().__init__()
        self.conv_stem = _conv(3, _STEM, 3, stride=2)
        self.bn1 = NormAct(_STEM)
        stages: list[nn.Module] = []
        self.widths: list[int] = []  # channels of each stage
        channels = _STEM
        for units, kernel, stride, expansion, width, first, others in _STAGES:
            out = int(wider * width + 4) // 8 * 8
            stage: list[nn.Module] = []
            for index in range(units if units == 1 else ceil(units * deeper)):
                if expansion == 1:
                    stage.append(DepthwiseSeparable(channels, out, kernel))
                else:
                    step, dilation = (1, others) if index else (stride, first)
                    stage.append(InvertedResidual(channels, out, kernel, step, dilation, expansion))
                channels = out
            stages.append(nn.Sequential(*stage))
            self.widths.append(channels)
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _conv(channels, _CHANNELS)
        self.bn2 = NormAct(_CHANNELS)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.weight[0, 0].numel() * layer.out_channels // layer.groups
                normal(layer.weight, (2 / fan_out) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to (B, 1280, H / 16, W / 16)."""
        return self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(x)))))


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


class AttentionPool(nn.Module):
    """CLIP's attention pooling of a ResNet: the mean of the places asks all of them, itself included."""

    def __init__(self, side: int, width: int, heads: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(normal(torch.empty(side**2 + 1, width), width**-0.5))
        self.k_proj, self.q_proj, self.v_proj, self.c_proj = (nn.Linear(width, width) for _ in range(4))
        self.num_heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, side, side) to (B, C)."""
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding  # (B, 1+N, C)
        q, k, v = (
            u.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for u in (self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x))
        )
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).flatten(1))


class PooledTrunk(nn.Module):
    """The image tower as a whole.

    Args:
        embed_dim: D, the size of the common space.
        trunk: one of ``TRUNKS``.
        image_size: side of the square input that the pooling's positions are made for, in pixels.
        hidden: width of the head's network.
        heads: of the attention pooling.
    """

    def __init__(self, embed_dim: int, trunk: str, image_size: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.image_size = (image_size, image_size)
        self.image_mean = self.image_std = (0.5, 0.5, 0.5)
        self.trunk = EfficientNetLite(*TRUNKS[trunk])
        self.head = PlaceHead(_CHANNELS, hidden, embed_dim)
        self.attnpool = AttentionPool(image_size // STRIDE, embed_dim, heads)

    def places(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to the pooling's input, (B, D, H/16, W/16), of unit length at each place.

        With one length for all, a place's value is nearest to itself in value-value attention, and not to
        whichever place has the longest.
        """
        # Depthwise convolutions take a quarter less time on channels that lie side by side.
        return self.places_of(self.trunk(pixels.contiguous(memory_format=torch.channels_last)))

    def places_of(self, x: Tensor) -> Tensor:
        """``places`` from the trunk's output (B, 1280, H/16, W/16)."""
        return F.normalize(self.head(x.permute(0, 2, 3, 1)), dim=-1).permute(0, 3, 1, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, image_size, image_size) to the image's feature (B, D)."""
        return self.attnpool(self.places(pixels))
