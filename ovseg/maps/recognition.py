"""One score per text for a whole image: multi-label recognition (paper, section 4.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from ovseg.maps.similarity import class_weights, cosine, empty_surgery, label_set_surgery


def recognize(
    class_token: Tensor, text: Tensor, surgery: str | None = "label_set", empty: Tensor | None = None
) -> Tensor:
    """Feature surgery with the class token in the place of the patches: (B, D), (K, D) -> (B, K).

    The paper's form takes one number a picture from all texts, so it changes the ranking of
    pictures for a text (mAP), never that of texts for a picture. ``None`` gives plain cosines,
    "softmax" CLIP's own softmax at scale 100 over the texts, "empty" subtracts the empty string.
    """
    token = class_token[:, None]
    if surgery == "empty":
        assert empty is not None
        return empty_surgery(token, text, empty)[:, 0]
    cosines = cosine(token, text)
    if surgery is None:
        return cosines[:, 0]
    if surgery == "softmax":
        return torch.softmax(100 * cosines[:, 0], dim=-1)
    form = "code" if surgery == "label_set_code" else "paper"
    return label_set_surgery(cosines, class_weights(class_token, text), form)[:, 0]
