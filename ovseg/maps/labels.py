"""Scores of texts to label maps: synonyms, background, area rule, argmax. Never after feature surgery.

Feature surgery in the public code's form changes which text is best at a place, so label maps are made from
cosines alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ovseg.options import SYNONYMS
from ovseg.options.checks import check_choice
from ovseg.results import void_value


def merge_synonyms(maps: Tensor, owners: Sequence[int]) -> Tensor:
    """The largest value among each class's texts.

    Args:
        maps: (T, H, W), one map for each text.
        owners: the class of each text, T values of 0..K-1.

    Returns:
        (K, H, W).
    """
    if list(owners) == list(range(len(owners))):
        return maps
    groups: dict[int, list[int]] = {}
    for text, owner in enumerate(owners):
        groups.setdefault(owner, []).append(text)
    return torch.stack([maps[groups[owner]].amax(dim=0) for owner in sorted(groups)])


def probabilities(
    cosines: Tensor, owners: Sequence[int], logit_scale: float, synonyms: str = "probability"
) -> Tensor:
    """The probability of each class at each place: softmax of logit_scale times cosine over the texts.

    Args:
        cosines: (T, H, W) in -1..1.
        owners: the class of each text, T values of 0..K-1.
        logit_scale: above 0.
        synonyms: "probability" takes the largest of a class's texts after the softmax (SCLIP, NACLIP),
            "cosine" before it.

    Returns:
        (K, H, W) in 0..1.

    Raises:
        UsageError: ``synonyms`` is another word.
    """
    check_choice("synonyms", synonyms, SYNONYMS)
    if synonyms == "probability":
        return merge_synonyms((logit_scale * cosines).softmax(dim=0), owners)
    return (logit_scale * merge_synonyms(cosines, owners)).softmax(dim=0)


def label_map(scores: Tensor, threshold: float | None = None, background: int | None = None) -> Tensor:
    """The best class of each pixel.

    Args:
        scores: (K, H, W), the classes' probabilities.
        threshold: where the best score is below, the pixel goes to the background class, or to void where
            there is none: a doubtful pixel never goes to an object's class. None switches the rule off.
        background: the index of the background class.

    Returns:
        (H, W) int64, on the scores' device; void is ``void_value(K)``.

    >>> label_map(torch.tensor([[[0.9, 0.3]], [[0.1, 0.4]]]), threshold=0.5)
    tensor([[  0, 255]])
    """
    best, labels = scores.max(dim=0)
    if threshold is not None:
        labels[best < threshold] = void_value(len(scores)) if background is None else background
    return labels


def kept_classes(labels: Tensor, classes: int, background: int | None, share: float) -> list[int]:
    """The classes that SCLIP's area rule leaves in an image.

    Args:
        labels: (H, W) class of each pixel, before the rule.
        classes: how many classes there are.
        background: the index of the background class, which always stays.
        share: of the foreground's pixels; a foreground class with at most this share is removed, in 0..1.

    Returns:
        Indices of the background class and of the classes that cover more than ``share``.

    >>> kept_classes(torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]]), 3, background=0, share=0.1)
    [0, 1]
    """
    counts = torch.bincount(labels.flatten(), minlength=classes)[:classes].tolist()
    foreground = sum(count for index, count in enumerate(counts) if index != background)
    return [index for index, count in enumerate(counts) if index == background or count > share * foreground]
