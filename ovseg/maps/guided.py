"""Maps whose boundaries follow the image's edges: the fast guided filter (He and Sun, 2015).

In a small neighbourhood each map is fitted by a linear function of the image's colours, q = a · I + b (He et
al., "Guided Image Filtering", Eq. 3-8, for a guide in colour). The fit needs no more detail than the map has,
so it is computed at a small size; its coefficients are smooth and are enlarged row by row, and only then meet
the image's own pixels. Nothing of the size texts x pixels is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.maps.scores import GridScores, Resized, ScoreMap, render

RADIUS = 1.0
"""Half the side of the neighbourhood, in cells of the token grid."""
EPSILON = 0.01
"""Regularisation, as a share of the image's variance: edges that are much weaker are smoothed over."""
_CELL = 4  # places of the fit along one cell of the token grid


@dataclass(frozen=True)
class Guided:
    """Filtered scores of T texts at the size of the guide.

    Attributes:
        coefficients: a (three channels) and b of every text, as four maps of T texts each.
        guide: (3, H, W), the image in any linear scale.
    """

    coefficients: tuple[GridScores, ...]
    guide: Tensor

    @property
    def texts(self) -> int:
        return self.coefficients[0].texts

    @property
    def size(self) -> tuple[int, int]:
        return (self.guide.shape[1], self.guide.shape[2])

    def rows(self, index: Tensor) -> Tensor:
        slopes = [Resized(part, self.size).rows(index) for part in self.coefficients[:3]]
        total = Resized(self.coefficients[3], self.size).rows(index)
        for slope, channel in zip(slopes, self.guide[:, index.to(self.guide.device)], strict=True):
            total += slope * channel
        return total


def guided(
    scores: ScoreMap, guide: Tensor, cells: tuple[int, int], radius: float = RADIUS, epsilon: float = EPSILON
) -> Guided:
    """The guided filter on scores.

    Args:
        scores: T maps.
        guide: (3, H, W), the image as it was encoded.
        cells: (h, w), how many cells of the token grid the image has.
        radius: half the side of the neighbourhood, in cells.
        epsilon: as a share of the guide's variance.

    Returns:
        The filtered maps, computed when rows of them are asked for.
    """
    size = (min(guide.shape[1], cells[0] * _CELL), min(guide.shape[2], cells[1] * _CELL))
    half = max(1, round(radius * _CELL))
    small = F.interpolate(guide[None].float(), size, mode="area")  # (1, 3, h, w)
    maps = render(scores, size)[None].float()  # (1, T, h, w)
    mean, level = _box(small, half), _box(maps, half)
    square = (
        _box(small[:, :, None] * small[:, None], half) - mean[:, :, None] * mean[:, None]
    )  # (1, 3, 3, h, w)
    shared = (
        _box(small[:, :, None] * maps[:, None], half) - mean[:, :, None] * level[:, None]
    )  # (1, 3, T, h, w)
    damped = square[0].permute(2, 3, 0, 1) + epsilon * guide.float().var() * torch.eye(3, device=guide.device)
    slopes = torch.linalg.solve(damped, shared[0].permute(2, 3, 0, 1)).permute(2, 3, 0, 1)  # (3, T, h, w)
    offset = level[0] - (slopes * mean[0][:, None]).sum(dim=0)
    smooth = [_box(part[None], half)[0] for part in (*slopes, offset)]
    return Guided(tuple(GridScores(part) for part in smooth), guide.float())


def _box(maps: Tensor, half: int) -> Tensor:
    """The mean over a square of side 2 * half + 1 around each place, cut at the border: (…, h, w)."""
    flat = maps.flatten(0, -3)[:, None]
    return F.avg_pool2d(flat, 2 * half + 1, 1, half, count_include_pad=False)[:, 0].reshape(maps.shape)
