"""Tune the image tower: name-the-crop on windows whose lower features are computed once for each round.

The lower half of the trunk stays as ImageNet made it; its features of a round's windows are kept in half
precision, and several passes over them train the upper half, the head and the pooling. Three losses:

- name-the-crop: the mean of the unit features of a random part of the window, against the names of its set:
  soft cross-entropy with the shares of the names in that part, rare names weighted more than common ones;
- memory: the mean feature of the window and of its quarters against the names of ImageNet's 1,000 classes:
  soft cross-entropy with what the untouched trunk and its classifier say;
- pooling: the image's feature through the attention pooling, against the names in the window. It moves only
  the pooling's queries and keys: the features of the places belong to the first two.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.pooled import PooledTrunk
from small_clip.pictures import GRID, PhotoSet, draw_window, epoch

LOWER = 4  # blocks of the trunk that stay as they are
WEIGHTS = (1.0, 0.3, 0.15)  # of the three losses
DROPPED = 0.1  # share of the trunk's channels that a step leaves out
PRESENT = 0.01  # a class with a smaller share of the window is not asked for in the image's feature
QUARTERS = [
    (0, 0, GRID, GRID),
    *((y, x, GRID // 2, GRID // 2) for y in (0, GRID // 2) for x in (0, GRID // 2)),
]


@dataclass(frozen=True)
class Settings:
    """How long and how fast.

    Attributes:
        minutes: of training; the rates fall along a cosine to this end.
        passes: over the windows of a round before new ones are drawn.
        rate: of the head; the trunk is trained at a quarter of it.
        size: windows in a batch.
        crops: random parts of each window.
    """

    minutes: float
    passes: int = 3
    rate: float = 1e-3
    size: int = 16
    crops: int = 10


@dataclass(frozen=True)
class Lessons:
    """What is to be learned from.

    Attributes:
        sets: the pictures.
        texts: (T, D) of each set.
        imagenet: (1000, D) of the classifier's classes.
    """

    sets: list[PhotoSet]
    texts: list[Tensor]
    imagenet: Tensor


@dataclass
class Kept:
    """A window of a round: lower features (C, 16, 16) fp16, its set, shares (256, C) and memory (5, 1000)."""

    features: Tensor
    number: int
    shares: Tensor
    memory: Tensor


class Depthwise(torch.autograd.Function):
    """A depthwise convolution of stride 1 with a fixed kernel; torch's own way back is much slower."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor, layer: nn.Conv2d) -> Tensor:
        ctx.kernel, ctx.layer = kernel, layer
        return F.conv2d(x, kernel, bias, 1, layer.padding, layer.dilation, layer.groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        layer = ctx.layer
        back = F.conv2d(gradient, ctx.kernel.flip(2, 3), None, 1, layer.padding, layer.dilation, layer.groups)
        return back, None, None, None


class Trunk:
    """The two halves of the tower's trunk as training calls them; nothing here changes the modules.

    Pointwise convolutions of the upper half are trained and computed as matrix products in bfloat16, its
    depthwise kernels and the statistics of its norms stay. The norms are folded into the weights before them.
    """

    def __init__(self, tower: PooledTrunk) -> None:
        self.trunk = tower.trunk
        units = [unit for block in self.trunk.blocks[LOWER:] for unit in block]
        pairs = [pair for unit in units for pair in ((unit.conv_pw, unit.bn1), (unit.conv_pwl, unit.bn3))]
        pairs.append((self.trunk.conv_head, self.trunk.bn2))
        self.units = units
        self.tuned = [p for layer, norm in pairs for p in (layer.weight, norm.weight, norm.bias)]

    def lower(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, 256, 256) to (B, C, 16, 16)."""
        x = self.trunk.bn1(self.trunk.conv_stem(pixels))
        for block in self.trunk.blocks[:LOWER]:
            x = block(x)
        return x

    def upper(self, lower: Tensor) -> Tensor:
        """(B, C, 16, 16) to the trunk's last channels, (B, 16, 16, 1280)."""
        x = lower.permute(0, 2, 3, 1)
        for unit in self.units:
            y = _pointwise(x, unit.conv_pw, unit.bn1).float().permute(0, 3, 1, 2)
            scale, shift = _folded(unit.bn2)
            kernel = (unit.conv_dw.weight * scale[:, None, None, None]).detach()
            y = F.hardtanh(Depthwise.apply(y, kernel, shift.detach(), unit.conv_dw), 0, 6)
            y = _pointwise(y.permute(0, 2, 3, 1), unit.conv_pwl, unit.bn3).float()
            x = x + y if unit.has_skip else y
        return _pointwise(x, self.trunk.conv_head, self.trunk.bn2).float()


def _folded(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """A batch norm with fixed statistics as factor and summand of each channel."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _pointwise(x: Tensor, layer: nn.Conv2d, norm: nn.Module) -> Tensor:
    """A 1x1 convolution, its norm and its activation on (B, H, W, C)."""
    scale, shift = _folded(norm)
    with torch.autocast("cpu", torch.bfloat16):
        y = F.linear(x, layer.weight[:, :, 0, 0] * scale[:, None], shift)
    return y if isinstance(norm.act, nn.Identity) else F.hardtanh(y, 0, 6)


def box_masks(boxes: list[tuple[int, int, int, int]]) -> Tensor:
    """Boxes (top, left, height, width) in cells to mean-weights over the cells, (P, 256)."""
    found = torch.zeros(len(boxes), GRID, GRID)
    for mask, (top, left, height, width) in zip(found, boxes, strict=True):
        mask[top : top + height, left : left + width] = 1 / (height * width)
    return found.flatten(1)


def random_boxes(count: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Boxes of 1.4 to 16 cells a side, small ones as often as large ones."""
    boxes = []
    for _ in range(count):
        side = math.exp(rng.uniform(math.log(1.4), math.log(GRID)))
        stretch = math.exp(rng.uniform(-0.3, 0.3))
        height, width = (int(np.clip(round(side * s), 1, GRID)) for s in (stretch, 1 / stretch))
        boxes.append(
            (int(rng.integers(0, GRID - height + 1)), int(rng.integers(0, GRID - width + 1)), height, width)
        )
    return boxes


@torch.no_grad()
def keep(
    tower: PooledTrunk,
    frozen: PooledTrunk,
    classifier: nn.Linear,
    sets: list[PhotoSet],
    rng: np.random.Generator,
) -> list[Kept]:
    """The windows of one round with their lower features, and what the untouched trunk says of them."""
    rows, kept = list(epoch(sets, rng)), []
    quarters = box_masks(QUARTERS)
    trunk = Trunk(frozen)
    for start in range(0, len(rows), 16):
        part = rows[start : start + 16]
        windows = [draw_window(sets[number], index, rng) for number, index in part]
        pixels = (
            torch.from_numpy(np.stack([w.image for w in windows])).permute(0, 3, 1, 2).float() / 127.5 - 1
        )
        with torch.autocast("cpu", torch.bfloat16):
            lower = trunk.lower(pixels.contiguous(memory_format=torch.channels_last)).float()
        means = quarters @ trunk.upper(lower).flatten(1, 2)  # (B, 5, 1280)
        memory = classifier(means).softmax(dim=-1).half()
        for row, (number, _) in enumerate(part):
            shares = torch.from_numpy(windows[row].shares)
            kept.append(Kept(lower[row].half(), number, shares, memory[row]))
    return kept


def crop_loss(similarity: Tensor, shares: Tensor, owners: Tensor) -> Tensor:
    """Soft cross-entropy of crops (P, T) to the shares of classes (P, C), which may be weighted.

    A class of several texts has the sum of their probabilities.
    """
    logs = similarity.log_softmax(dim=-1)  # (P, T)
    classes = shares.shape[1]
    if classes == len(owners):
        order = torch.empty_like(owners)
        order[owners] = torch.arange(len(owners))
        logs = logs[:, order]
    else:
        sums = torch.zeros(len(logs), classes).index_add(1, owners, logs.exp())
        logs = sums.clamp_min(1e-9).log()
    return -(shares * logs).sum()


class Trainer:
    """The tower in training, with the logit scale that it comes to.

    Args:
        tower: trained in place.
        lessons: sets and texts.
        settings: how long and how fast.
        scale: the logit scale to begin with.
    """

    def __init__(self, tower: PooledTrunk, lessons: Lessons, settings: Settings, scale: float = 20.0) -> None:
        self.tower, self.lessons, self.settings = tower, lessons, settings
        self.trunk, self.rng = Trunk(tower), np.random.default_rng(0)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.owners = [torch.from_numpy(data.owners) for data in lessons.sets]
        self.weights = [torch.from_numpy(data.weights) for data in lessons.sets]
        self.quarters = box_masks(QUARTERS)
        pool, rate = tower.attnpool, settings.rate
        groups = [
            {"params": self.trunk.tuned, "rate": rate / 4},
            {"params": [*tower.head.parameters()], "rate": rate},
            {"params": [*pool.q_proj.parameters(), *pool.k_proj.parameters()], "rate": rate},
            {"params": [self.log_scale], "rate": rate, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
        self.steps, self.begun = 0, time.perf_counter()

    @property
    def scale(self) -> float:
        return float(self.log_scale.detach().exp())

    @property
    def spent(self) -> float:
        """The share of the time that is gone."""
        return (time.perf_counter() - self.begun) / (60 * self.settings.minutes)

    def train_round(self, kept: list[Kept]) -> None:
        """Some passes over the windows of a round, or until the time is gone."""
        size, shown = self.settings.size, np.zeros(3)
        for _ in range(self.settings.passes):
            order = self.rng.permutation(len(kept))
            for start in range(0, len(order) - size + 1, size):
                if self.spent >= 1:
                    return
                shown += self.step([kept[i] for i in order[start : start + size]])
                if self.steps % 50 == 0:
                    means = " ".join(f"{value:.3f}" for value in shown / 50)
                    print(
                        f"image {self.steps}: {self.spent:.1%}, losses {means}, scale {self.scale:.1f}",
                        flush=True,
                    )
                    shown[:] = 0

    def step(self, batch: list[Kept]) -> NDArray[np.float64]:
        """One step; gives the mean of each of the three losses."""
        warm, spent = min(1.0, (self.steps + 1) / 100), min(1.0, self.spent)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * spent)) / 2)
        x = self.trunk.upper(torch.stack([b.features for b in batch]).float())
        x = x * (torch.rand(len(x), 1, 1, x.shape[-1]) > DROPPED) / (1 - DROPPED)
        with torch.autocast("cpu", torch.bfloat16):
            places = self.tower.head(x).float()  # (B, 16, 16, D)
        images = F.normalize(self.tower.attnpool(places.detach().permute(0, 3, 1, 2)), dim=-1)
        unit = F.normalize(places, dim=-1).flatten(1, 2)  # (B, 256, D)
        rows = [self.losses(b, unit[row], images[row : row + 1]) for row, b in enumerate(batch)]
        losses = torch.stack([torch.stack(row) for row in rows]).mean(dim=0)
        self.optimizer.zero_grad(set_to_none=True)
        (losses * torch.tensor(WEIGHTS)).sum().backward()
        nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 2.0)
        self.optimizer.step()
        self.steps += 1
        return losses.detach().double().numpy()

    def losses(self, kept: Kept, unit: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Name-the-crop, pooling and memory: unit places (256, D), unit image feature (1, D)."""
        texts, owners, scale = self.lessons.texts[kept.number], self.owners[kept.number], self.log_scale.exp()
        boxes = box_masks(random_boxes(self.settings.crops, self.rng))
        crops = F.normalize(boxes @ unit, dim=-1)
        shares = boxes @ kept.shares * self.weights[kept.number]
        named = crop_loss(scale * crops @ texts.T, shares, owners) / len(boxes)
        present = (kept.shares.mean(dim=0, keepdim=True) > PRESENT).float()
        present = present / present.sum().clamp_min(1)
        pooled = crop_loss(scale.detach() * image @ texts.T, present, owners)
        five = F.normalize(self.quarters @ unit, dim=-1)
        said = (scale * five @ self.lessons.imagenet.T).log_softmax(dim=-1)
        return named, pooled, -(kept.memory.float() * said).sum(dim=-1).mean()
