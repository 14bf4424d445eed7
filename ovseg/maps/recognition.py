"""One score for each text for a whole image: multi-label recognition (paper, section 4.5)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from ovseg.maps.similarity import label_set_surgery, score_weights


def recognizer(
    text: Tensor, surgery: str | None, empty: Tensor | None = None, logit_scale: float = 100.0
) -> Callable[[Tensor], Tensor]:
    """Feature surgery with the class token in the place of the patches, for one batch after the other.

    What depends on the texts alone is computed once. Of an image there is one product of its class token with
    the texts, (B, D) by (D, K): nothing of the size of texts times channels, however many texts there are.

    The paper's form subtracts one number from all texts of an image. So it changes the ranking of images for
    a text, which is what mean average precision measures, and never the ranking of texts for an image.

    Args:
        text: (K, D).
        surgery: "label_set", "label_set_code", "empty", None for plain cosines, or "softmax" for the softmax
            over the texts at ``logit_scale``, CLIP's own way.
        empty: (1, D), the feature of the empty string; needed by "empty" alone.
        logit_scale: the model's own factor of its cosines.

    Returns:
        A function from class tokens (B, D) to scores (B, K).

    Raises:
        UsageError: from the function, for the surgeries over a set of texts where there is one text.

    >>> import torch
    >>> score = recognizer(torch.eye(2), None)
    >>> score(torch.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    compared = F.normalize(text, dim=-1)
    if surgery == "empty":
        assert empty is not None
        compared = compared - F.normalize(empty, dim=-1)

    def score(class_token: Tensor) -> Tensor:
        cosines = F.normalize(class_token, dim=-1) @ compared.T
        if surgery == "softmax":
            return (logit_scale * cosines).softmax(dim=-1)
        if surgery in ("label_set", "label_set_code"):
            form = "code" if surgery == "label_set_code" else "paper"
            return label_set_surgery(cosines[:, None], score_weights(cosines), form)[:, 0]
        return cosines

    return score


def recognize(
    class_token: Tensor,
    text: Tensor,
    surgery: str | None,
    empty: Tensor | None = None,
    logit_scale: float = 100.0,
) -> Tensor:
    """The scores (B, K) of class tokens (B, D); arguments as of ``recognizer``."""
    return recognizer(text, surgery, empty, logit_scale)(class_token)
