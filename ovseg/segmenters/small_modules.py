"""The network of the embedded segmenter "small": a light decoder on the trunk of the embedded CLIP "small".

    pixels ─ trunk (frozen, CLIP's) ─ Neck: features at strides 2, 4, 8 and 16 ─┐
    points, box, map, rivals' map ─ prompt_maps at stride 4 ────────────────────┴─ Decoder ─ 3 masks at stride 2

A prompt acts in two ways: as maps beside the features, and through prototypes: the mean feature of the places
that a prompt marks is compared with every place.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.pooled import PooledTrunk

MASKS = 3
"""Candidates. The first is trained on every prompt; the others, on a single click, on what they fit best."""
CELL = 4
"""Stride of the prompt maps in pixels of the input."""
PROMPTS = 7
"""Prompt maps: on, beside, in the box, outside the box, the map in -1..1, whether there is one, rivals."""
_FULL, _FADED = 6.0, 10.0  # radii in pixels of the input: a point's disk is 1 up to one, and 0 from the other
_WIDTHS = (12, 24, 48, 128)  # channels at strides 2, 4, 8, 16
_PLACES = 6.0  # places have unit length; the trunk's channels beside them are larger
_BLOCKS = 4
_SCORE = 64


class TrunkFeatures(NamedTuple):
    """What the trunk says of B images.

    Attributes:
        pixels: (B, 3, H, W) in -1..1.
        f2, f4, f8, f16: at strides 2, 4, 8 and 16.
        places: (B, D, H/16, W/16), CLIP's, of unit length.
    """

    pixels: Tensor
    f2: Tensor
    f4: Tensor
    f8: Tensor
    f16: Tensor
    places: Tensor


class NeckFeatures(NamedTuple):
    """B images for the decoder: at strides 2, 4, 8, 16, and CLIP's places."""

    n2: Tensor
    n4: Tensor
    n8: Tensor
    n16: Tensor
    places: Tensor


def trunk_features(tower: PooledTrunk, pixels: Tensor) -> TrunkFeatures:
    """One pass of CLIP's image tower over pixels (B, 3, H, W) in -1..1; H and W are multiples of 16."""
    trunk = tower.trunk
    x = trunk.bn1(trunk.conv_stem(pixels.contiguous(memory_format=torch.channels_last)))
    found = []
    for stage in trunk.blocks:
        x = stage(x)
        found.append(x)
    places = tower.places_of(trunk.bn2(trunk.conv_head(x)))
    f16 = torch.cat([found[4], found[6], _PLACES * places], dim=1)
    return TrunkFeatures(pixels, found[0], found[1], found[2], f16, places)


def channels_of(tower: PooledTrunk) -> tuple[int, int, int, int]:
    """The channels of ``trunk_features`` at strides 2, 4, 8 and 16."""
    widths = tower.trunk.widths
    return widths[0], widths[1], widths[2], widths[4] + widths[6] + tower.head.linear.out_features


def prompt_maps(
    points: Tensor, labels: Tensor, box: Tensor | None, prior: Tensor | None, rival: Tensor | None,
    size: tuple[int, int],
) -> Tensor:  # fmt: skip
    """One prompt as maps, (PROMPTS, H/4, W/4).

    Args:
        points: (P, 2), (x, y) in pixels of the input.
        labels: (P,), 1 on the object and 0 beside it.
        box: (4,), in pixels of the input.
        prior: a map (h, w) in 0..1 of the whole input; 0.5 is the border.
        rival: a map (h, w) in 0..1 of what else is asked for, on the prior's scale.
        size: (H, W) of the input.
    """
    height, width = size[0] // CELL, size[1] // CELL
    out = points.new_zeros(PROMPTS, height, width)
    y = (torch.arange(height, device=points.device) + 0.5) * CELL
    x = (torch.arange(width, device=points.device) + 0.5) * CELL
    for channel, wanted in ((0, 1), (1, 0)):
        chosen = points[labels == wanted]
        if len(chosen):
            squared = (x - chosen[:, :1])[:, None, :] ** 2 + (y - chosen[:, 1:])[:, :, None] ** 2
            nearest = squared.amin(dim=0).sqrt()
            out[channel] = ((_FADED - nearest) / (_FADED - _FULL)).clamp(0, 1)
    if box is not None:
        x0, y0, x1, y1 = box
        across, down = (
            ((torch.minimum(cells + CELL / 2, end) - torch.maximum(cells - CELL / 2, start)) / CELL).clamp(
                0, 1
            )
            for cells, start, end in ((x, x0, x1), (y, y0, y1))
        )
        out[2] = down[:, None] * across
        out[3] = 1 - out[2]
    if prior is not None:
        out[4] = 2 * _resized(prior, (height, width)) - 1
        out[5] = 1
    if rival is not None:
        out[6] = _resized(rival, (height, width))
    return out


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (h, w) at another size: the mean where it shrinks."""
    if values.shape == size:
        return values
    shrinks = values.shape[0] > size[0] and values.shape[1] > size[1]
    how = {"mode": "area"} if shrinks else {"mode": "bilinear", "align_corners": False}
    return F.interpolate(values[None, None], size, **how)[0, 0]


def _block(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


def _linear(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Neck(nn.Module):
    """From the trunk's features to the decoder's, once an image."""

    def __init__(self, trunk: tuple[int, int, int, int]) -> None:
        super().__init__()
        c2, c4, c8, c16 = _WIDTHS
        self.at16 = _block(trunk[3], c16, 1)
        self.at8, self.down8 = _linear(trunk[2], c8), nn.Conv2d(c16, c8, 1)
        self.at4, self.down4 = _linear(trunk[1] + 3, c4), nn.Conv2d(c8, c4, 1)
        self.at2 = _block(trunk[0] + 3, c2, 1)

    def forward(self, found: TrunkFeatures) -> NeckFeatures:
        """Features of B images to those of the decoder."""
        n16 = self.at16(found.f16)
        n8 = F.relu(self.at8(found.f8) + _doubled(self.down8(n16)))
        n4 = F.relu(
            self.at4(torch.cat([found.f4, F.avg_pool2d(found.pixels, 4)], 1)) + _doubled(self.down4(n8))
        )
        n2 = self.at2(torch.cat([found.f2, F.avg_pool2d(found.pixels, 2)], 1))
        return NeckFeatures(n2, n4, n8, n16, found.places)


class Residual(nn.Module):
    """A depthwise convolution and two pointwise ones, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 5, 1, 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 1),
        )
        last = self.body[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C, h, w)."""
        return x + self.body(x)


class Decoder(nn.Module):
    """Masks for prompts on images that are encoded already."""

    def __init__(self) -> None:
        super().__init__()
        c2, c4, c8, c16 = _WIDTHS
        self.in4 = _block(c4 + PROMPTS, c4)
        self.step8, self.in8 = _block(c4, c8, stride=2), _block(2 * c8 + PROMPTS, c8)
        self.step16 = _block(c8, c16, stride=2)
        self.in16 = _block(2 * c16 + 3 * PROMPTS, c16, 1)
        self.body = nn.Sequential(*(Residual(c16) for _ in range(_BLOCKS)))
        self.up8, self.out8 = nn.Conv2d(c16, c8, 1), _block(2 * c8, c8)
        self.coarse = nn.Conv2d(c8, MASKS, 1)
        self.up4 = nn.Conv2d(c8, c4, 1)
        self.out4 = nn.Sequential(_block(2 * c4 + PROMPTS, c4), _block(c4, c4))
        self.up2, self.out2 = nn.Conv2d(c4, c2, 1), _block(2 * c2, c2)
        self.fine = nn.Conv2d(c2, MASKS, 3, padding=1)
        self.score = nn.Sequential(
            nn.Linear(2 * c8 + 2 * c4 + 7, _SCORE), nn.ReLU(inplace=True), nn.Linear(_SCORE, 1)
        )

    def forward(self, images: NeckFeatures, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of T prompts on each of B images.

        Args:
            images: of B images.
            prompts: (B, T, PROMPTS, H/4, W/4).

        Returns:
            logits (B*T, MASKS, H/2, W/2); coarse logits (B*T, MASKS, H/8, W/8); scores (B*T, MASKS) in 0..1.
        """
        each = prompts.shape[1]
        p4 = prompts.flatten(0, 1)
        p16 = F.avg_pool2d(p4, 4)
        n2, n4, n8, n16 = (u.repeat_interleave(each, dim=0) for u in images[:4])
        w8, w16 = (_weights(F.avg_pool2d(prompts.flatten(0, 1), k)) for k in (2, 4))
        x4 = self.in4(torch.cat([n4, p4], 1))
        x8 = self.in8(torch.cat([self.step8(x4), n8, _compared(images.n8, w8)], 1))
        at16 = [self.step16(x8), n16, _compared(images.places, w16), _compared(images.n16, w16), p16]
        x16 = self.body(self.in16(torch.cat(at16, 1)))
        y8 = self.out8(torch.cat([_doubled(self.up8(x16)), x8], 1))
        coarse = self.coarse(y8)
        y4 = self.out4(torch.cat([_doubled(self.up4(y8)), x4, p4], 1))
        y2 = self.out2(torch.cat([_doubled(self.up2(y4)), n2], 1))
        logits = self.fine(y2) + F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
        return logits, coarse, self._scores(logits.detach(), y8.detach(), y4.detach(), p4)

    def _scores(self, logits: Tensor, y8: Tensor, y4: Tensor, prompts: Tensor) -> Tensor:
        """The expected IoU of each mask, from the features on and beside it and from how sure it is."""
        chance = F.avg_pool2d(logits.sigmoid(), 2)  # at stride 4
        sure = F.avg_pool2d((logits > 0).float(), 2)
        area, taken = chance.mean((2, 3)), sure.mean((2, 3))
        both = (chance * sure).mean((2, 3))
        prior = ((prompts[:, 4] + 1) / 2 * prompts[:, 5])[:, None]
        shared = (prior * chance).mean((2, 3))
        parts = [
            both / (area + taken - both).clamp_min(1e-6),
            both / taken.clamp_min(1e-6),
            area.sqrt(),
            shared / (prior.mean((2, 3)) + area - shared).clamp_min(1e-6),
            *(prompts[:, k].amax((1, 2))[:, None].expand_as(area) for k in (0, 2, 5)),
        ]
        means = [
            _mean_where(values, weights)
            for values, size in ((y8, 2), (y4, 1))
            for weights in (F.avg_pool2d(chance, size), 1 - F.avg_pool2d(chance, size))
        ]
        features = torch.cat([*means, torch.stack(parts, -1)], -1)  # (N, MASKS, F)
        return self.score(features)[..., 0].sigmoid()


def _mean_where(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of values (N, C, h, w) for each of weights (N, M, h, w): (N, M, C)."""
    total = torch.einsum("nchw,nmhw->nmc", values, weights)
    return total / weights.sum((2, 3)).clamp_min(1e-6)[..., None]


def _weights(prompts: Tensor) -> Tensor:
    """What each prototype is the mean of, (N, PROMPTS, h, w), from prompt maps (N, PROMPTS, h, w)."""
    prior = prompts[:, 4:5]
    return torch.cat([prompts[:, :4], prior.relu(), (-prior).relu(), prompts[:, 6:]], 1)


def _compared(features: Tensor, weights: Tensor) -> Tensor:
    """The cosine of every place with each prototype; 0 where a prompt marks no place.

    Args:
        features: (B, C, h, w).
        weights: (B*T, PROMPTS, h, w).

    Returns:
        (B*T, PROMPTS, h, w).
    """
    unit = F.normalize(features.flatten(2), dim=1)  # (B, C, N)
    rows = weights.flatten(2).unflatten(0, (len(features), -1)).flatten(1, 2)  # (B, T*PROMPTS, N)
    prototypes = F.normalize(rows @ unit.transpose(1, 2), dim=-1)
    return (prototypes @ unit).reshape(weights.shape)


class SmallSegmenterNet(nn.Module):
    """Neck and decoder; the trunk is CLIP's and not part of it.

    Args:
        channels: of ``trunk_features`` at strides 2, 4, 8 and 16.
    """

    def __init__(self, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.neck = Neck(channels)
        self.decoder = Decoder()
