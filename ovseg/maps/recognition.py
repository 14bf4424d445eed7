"""One score for each text for a whole image: multi-label recognition (paper, section 4.5)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ovseg.maps.similarity import apply_surgery, cosine


def recognize(
    class_token: Tensor,
    text: Tensor,
    surgery: str | None,
    empty: Tensor | None = None,
    logit_scale: float = 100.0,
) -> Tensor:
    """Feature surgery with the class token in the place of the patches.

    The paper's form subtracts one number from all texts of an image. So it changes the ranking of images for
    a text, which is what mean average precision measures, and never the ranking of texts for an image.

    Args:
        class_token: (B, D).
        text: (K, D).
        surgery: "label_set", "label_set_code", "empty", None for plain cosines, or "softmax" for the softmax
            over the texts at ``logit_scale``, CLIP's own way.
        empty: (1, D), the feature of the empty string; needed by "empty" alone.
        logit_scale: the model's own factor of its cosines.

    Returns:
        (B, K).
    """
    token = F.normalize(class_token, dim=-1)[:, None]
    if surgery == "softmax":
        return (logit_scale * cosine(token, text)[:, 0]).softmax(dim=-1)
    return apply_surgery(token, class_token, text, surgery, empty)[:, 0]
