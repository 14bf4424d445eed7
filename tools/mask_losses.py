"""The losses of masks, for the trainings of both embedded segmenters."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def losses(logits: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy + dice (N, M), and the real IoU (N, M), where ``known`` says so; others (N, 1 or M, h, w)."""
    target = target.clamp(0, 1)
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    entropy = (entropy * known).sum((2, 3)) / known.sum((2, 3)).clamp_min(1)
    soft = logits.sigmoid() * known
    overlap = (soft * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (soft.sum((2, 3)) + (target * known).sum((2, 3)) + 1)
    hard, real = (logits > 0) & (known > 0.5), (target > 0.5) & (known > 0.5)
    union = (hard | real).sum((2, 3)).clamp_min(1)
    return entropy + dice, (hard & real).sum((2, 3)) / union
