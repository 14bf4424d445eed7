"""Explanations: where in an image the score of a text comes from, by the methods that the paper compares.

    registry   the list of explanations, and the decorator that adds to it
    subject    one image and its texts: the one forward pass that all gradients are taken from
    run        explain(model, image, texts, method), compare(...)
    tokens     which words of a caption the image answers to
    picture    contact sheets of compared explanations, with scores against masks

One function is one explanation: ``similarity`` (the training-free methods, of which every one is an explanation;
RCLIP), ``gradcam`` (and gScoreCAM, Grad-ECLIP), ``attention`` (rollout, Bi-Modal, LeGrad), ``plrp``, and ``saved``
for maps that another program has written.
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
"""Each puts its rows into the list when it is imported."""

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
