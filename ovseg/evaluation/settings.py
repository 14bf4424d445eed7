"""What decides about the rows of a run, checked once: how images go in, which texts, how maps are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import ovseg
from ovseg.checks import Size, Templates, check_choice, check_integer, check_size, check_templates, pair
from ovseg.clip.towers import native_size
from ovseg.errors import UsageError
from ovseg.evaluation.rows import GROUP
from ovseg.frozen_clip import FrozenClip
from ovseg.metrics.maps import default_thresholds
from ovseg.options import RESIZES, Options, Plain
from ovseg.vocabulary import Vocabulary, as_vocabulary
from ovseg.weights.digest import state_digest

SCORED_AT = ("image", "input")
"""Where maps and masks meet: at the image's size, or at the encoder's input."""
SURGERY_OVER = ("set", "image")
"""The texts that feature surgery takes together: all names of the set, or those that are in the image."""


@dataclass(frozen=True, kw_only=True)
class Protocol(Options):
    """How a data set is measured (the paper's section 4.1).

    Attributes:
        size: the encoder's input, one side of a square or (height, width); None for the model's native size,
            224 for OpenAI's. Images are stretched to it, as in the paper.
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
        object.__setattr__(self, "templates", check_templates(self.templates))
        check_choice("scored at", self.scored_at, SCORED_AT)
        check_choice("surgery over", self.surgery_over, SURGERY_OVER)
        check_integer("group", self.group, 1, 4096)

    def input_size(self, model: FrozenClip) -> tuple[int, int]:
        """The encoder's (height, width) in whole patches."""
        size = native_size(model.clip.visual) if self.size is None else self.size
        return model.input_size((1, 1), pair(size))


@dataclass(frozen=True)
class Backbone:
    """A model by the name that it was asked for.

    Attributes:
        name: the name of open_clip's, or "tiny".
        model: the model with the method "clip".
        digest: of its weights, as they are in memory.
    """

    name: str
    model: ovseg.Model
    digest: str = field(default="")

    @staticmethod
    def of(name: str, model: ovseg.Model) -> Backbone:
        """The backbone of a loaded model."""
        return Backbone(name, model.with_method("clip"), state_digest(model.clip))

    def describe(self) -> dict[str, Plain]:
        """What decides about what the model answers, its weights by their content."""
        device = self.model.device.type
        return {"name": self.name, "weights": self.digest, "device": device, "ovseg": ovseg.__version__}


@dataclass(frozen=True)
class Texts:
    """The names of a set with their texts.

    Attributes:
        vocabulary: a class for each name of the set, in its order.
    """

    vocabulary: Vocabulary

    @staticmethod
    def of(names: Sequence[str], vocabulary: Vocabulary | None = None) -> Texts:
        """The texts of a set's names: the names themselves, or those of a vocabulary that has them all.

        Raises:
            UsageError: the vocabulary lacks a name of the set, or the set has no names.
        """
        if vocabulary is None:
            return Texts(as_vocabulary(list(names)))
        missing = [name for name in names if name not in vocabulary.names]
        if missing:
            raise UsageError(
                f"wanted a vocabulary with every class of the set, it lacks {', '.join(missing[:5])}"
            )
        rows = dict(zip(vocabulary.names, vocabulary.texts, strict=True))
        return Texts(Vocabulary(tuple(names), tuple(rows[name] for name in names)))


def thresholds() -> NDArray[np.float64]:
    """The grid of thresholds of every table."""
    return default_thresholds()
