"""Explanations: maps of where in an image a text's score comes from, by the methods that the paper compares.

    registry   the list of explanations, the decorator that adds to it, and similarity as an explanation
    subject    one image and its texts, with the forward pass that all gradients share
    run        explain(model, image, texts, method), compare(...)
    tokens     each token of a caption compared with the image
    picture    contact sheets of compared explanations, with scores against masks

Each explanation is one function: the training-free methods and RCLIP (``registry``), Grad-CAM, gScoreCAM and
Grad-ECLIP (``gradcam``), rollout, Bi-Modal and LeGrad (``attention``), pLRP (``plrp``). ``saved`` reads maps that
another program wrote.
"""

from ovseg.explanation import attention, gradcam, plrp
from ovseg.explanation.registry import (
    Explanation,
    add_explanation,
    explanation,
    get_explanation,
    list_explanations,
    remove_explanation,
)
from ovseg.explanation.run import Compared, Run, compare, explain, explain_each
from ovseg.explanation.saved import saved_maps
from ovseg.explanation.subject import Subject
from ovseg.explanation.tokens import CaptionTokens, explain_tokens

MODULES = (attention, gradcam, plrp)
"""Modules that register their explanations on import."""

__all__ = [
    "CaptionTokens",
    "Compared",
    "Explanation",
    "Run",
    "Subject",
    "add_explanation",
    "compare",
    "explain",
    "explain_each",
    "explain_tokens",
    "explanation",
    "get_explanation",
    "list_explanations",
    "remove_explanation",
    "saved_maps",
]
