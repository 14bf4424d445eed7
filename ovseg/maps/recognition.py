"""One score for each text for a whole image: multi-label recognition (paper, section 4.5)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from ovseg.maps.similarity import label_set_surgery, score_weights


def recognizer(
    text: Tensor, surgery: str = "none", empty: Tensor | None = None, softmax_scale: float | None = None
) -> Callable[[Tensor], Tensor]:
    """Feature surgery with the class token in the place of the patches, for one batch after the other.

    What depends on the texts alone is computed once. Of an image there is one product of its class token with
    the texts, (B, D) by (D, K): nothing of the size of texts times channels, however many texts there are.

    The paper's form subtracts one number from all texts of an image. So it changes the ranking of images for
    a text, which is what mean average precision measures, and never the ranking of texts for an image.

    Args:
        text: (K, D).
        surgery: one of ``ovseg.options.SURGERIES``; "none" for plain cosines.
        empty: (1, D), the feature of the empty string; needed by "empty" alone.
        softmax_scale: also take the softmax over the texts at this scale; CLIP's own way with "none".

    Returns:
        A function from class tokens (B, D) to scores (B, K).

    Raises:
        UsageError: from the function, for the surgeries over a set of texts where there is one text.

    >>> import torch
    >>> score = recognizer(torch.eye(2))
    >>> score(torch.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    compared = F.normalize(text, dim=-1)
    if surgery == "empty":
        assert empty is not None
        compared = compared - F.normalize(empty, dim=-1)

    def score(class_token: Tensor) -> Tensor:
        scores = F.normalize(class_token, dim=-1) @ compared.T
        if surgery in ("label_set", "label_set_code"):
            scores = label_set_surgery(scores[:, None], score_weights(scores), surgery)[:, 0]
        return scores if softmax_scale is None else (softmax_scale * scores).softmax(dim=-1)

    return score
