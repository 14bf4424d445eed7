"""Cosine maps to label maps: synonyms, background, argmax. Never after feature surgery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ovseg.errors import UsageError

SYNONYMS = ("probability", "cosine")


def merge_synonyms(maps: Tensor, owners: Sequence[int]) -> Tensor:
    """The largest of each class's texts: maps (B, T, H, W), ``owners`` (T,) class indices -> (B, K, H, W)."""
    if list(owners) == list(range(len(owners))):
        return maps
    groups: dict[int, list[int]] = {}
    for text, owner in enumerate(owners):
        groups.setdefault(owner, []).append(text)
    return torch.stack([maps[:, groups[owner]].amax(dim=1) for owner in sorted(groups)], dim=1)


def probabilities(
    cosines: Tensor, owners: Sequence[int], logit_scale: float = 50.0, synonyms: str = "probability"
) -> Tensor:
    """softmax(logit_scale · cosine) with one map per class: (B, T, H, W) -> (B, K, H, W) in 0..1.

    ``synonyms``: "probability" takes the largest of a class's texts after the softmax (SCLIP,
    NACLIP), "cosine" before it. Raises UsageError for another word.
    """
    if synonyms == "probability":
        return merge_synonyms((logit_scale * cosines).softmax(dim=1), owners)
    if synonyms == "cosine":
        return (logit_scale * merge_synonyms(cosines, owners)).softmax(dim=1)
    raise UsageError(f"unknown synonyms {synonyms!r}: wanted one of {', '.join(SYNONYMS)}")


def label_map(scores: Tensor, threshold: float | None = None, background: int | None = None) -> np.ndarray:
    """The best class of each pixel: scores (K, H, W) -> (H, W) uint8, uint16 beyond 255 classes.

    Where the best score is below ``threshold`` the pixel goes to class ``background``, or to void
    (the dtype's largest value) if there is none: uncertain pixels never land on a real class.
    """
    best, index = scores.max(dim=0)
    labels = index.cpu().numpy().astype(np.uint8 if len(scores) <= 255 else np.uint16)
    if threshold is not None:
        uncertain = (best < threshold).cpu().numpy()
        labels[uncertain] = np.iinfo(labels.dtype).max if background is None else background
    return labels
