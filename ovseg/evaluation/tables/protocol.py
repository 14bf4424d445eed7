"""How a data set is measured, checked once, and the names that the tools know. No model is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from ovseg.options import RESIZES, Options
from ovseg.options.checks import Size, Templates, check_choice, check_integer, check_size, check_templates

WITH_METHODS = ("table1", "table2", "table5", "faithful", "randomisation")
"""The experiments that compare any methods."""
FIXED = ("table4", "depth", "figure4", "figure5", "figure6")
"""Those whose rows the paper decides."""
NEED_BLOCKS = ("table2", "table4", "depth", "figure5")
"""Those that have rows for backbones of transformer blocks alone."""
RULES = {
    "clip": "softmax",
    "cosine": "none",
    "clip_surgery": "label_set",
    "clip_surgery:label_set_code": "label_set_code",
    "clip_surgery:empty": "empty",
}
"""The rows of Table 6 for a backbone: CLIP takes the softmax over the names, as in the paper."""
TABLE6 = ("clip", "clip_surgery")
"""Those of the paper."""
GROUP = 16
"""Images that are read and encoded together."""
SCORED_AT = ("image", "input")
"""Where maps and masks meet: at the image's size, or at the encoder's input."""
SURGERY_OVER = ("set", "image")
"""The texts that feature surgery takes together: all names of the set, or those that are in the image."""


@dataclass(frozen=True, kw_only=True)
class Protocol(Options):
    """How a data set is measured (the paper's section 4.1).

    Attributes:
        size: the encoder's input, one side of a square or (height, width). None for the model's default: 224
            for OpenAI's; 352 for "small" and 160 for "tiny", where only the class token is read 256 and 64.
            Images are stretched to it, as in the paper.
        resize: how they are, one of ``options.RESIZES``.
        templates: the prompts of each name.
        scored_at: one of ``SCORED_AT``. The paper does not say whether its masks were resized to 224 too.
        surgery_over: one of ``SURGERY_OVER``.
        group: images that are encoded together. It decides about the last digits of a score.
    """

    size: Size | None = None
    resize: str = "opencv"
    templates: Templates = "paper"
    scored_at: str = "image"
    surgery_over: str = "set"
    group: int = GROUP

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size("size", self.size))
        check_choice("resize", self.resize, RESIZES)
        object.__setattr__(self, "templates", check_templates("templates", self.templates))
        check_choice("scored at", self.scored_at, SCORED_AT)
        check_choice("surgery over", self.surgery_over, SURGERY_OVER)
        check_integer("group", self.group, 1, 4096)
