"""A model that is loaded, what its inputs need, and what keys of its text features are made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovseg.clip.plain import Clip as PlainClip
from ovseg.clip.text_tower import Tokenizer
from ovseg.weights.files import RANDOM, WeightsRecord, state_digest

if TYPE_CHECKING:
    import open_clip

Clip: TypeAlias = "PlainClip | open_clip.CLIP | open_clip.CustomTextCLIP"
Triple = tuple[float, float, float]
SIZE = 512
"""The default short side in pixels of inputs for dense maps, except for the embedded models."""
MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
"""OpenAI's, of RGB in 0..1, for models that say no other."""
STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_VERSION = 3
"""Part of every key of a text feature: raised when the same inputs give other features."""


@dataclass(frozen=True)
class LoadedClip:
    """A model in eval mode and what its inputs need. It does not change after loading.

    Attributes:
        clip: the embedded model or open_clip's, on the device that was asked for.
        tokenizer: for its texts.
        name: the name that it was loaded by.
        mean: of RGB in 0..1, for normalisation.
        std: likewise.
        size: default short side in pixels of the input for dense maps.
        weights: what was asked for, the file and its SHA-256, or that they are untrained.
        text: what features of texts depend on besides weights, templates and texts; None where nobody says,
            and features are not kept on disk.
        tuned: whether other weights were loaded over those of ``weights``.
    """

    clip: Clip
    tokenizer: Tokenizer
    name: str
    mean: Triple
    std: Triple
    size: int
    weights: WeightsRecord = field(default_factory=lambda: WeightsRecord(RANDOM))
    text: str | None = None
    tuned: bool = False

    @property
    def file(self) -> Path | None:
        """The weights on disk, None where they are untrained."""
        return self.weights.file

    @cached_property
    def text_key(self) -> str | None:
        """The part of a text feature's key on disk that all features of the model share; None as ``text``.

        The file is read once for it, or the weights in memory where no file holds them.
        """
        if self.text is None:
            return None
        weights = None if self.tuned else self.weights.sha256
        parts = f"{_VERSION} {weights or state_digest(self.clip)} {self.text}"
        return hashlib.sha256(parts.encode()).hexdigest()


def looks_like_file(weights: str) -> bool:
    """Whether weights given as a text are a file and no tag: by their shape, or because the file is there."""
    try:
        return "/" in weights or "\\" in weights or "." in weights or Path(weights).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name that no file system takes, or an unknown home
        return False
