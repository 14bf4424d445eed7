"""A loaded model, how its inputs are prepared, and the key of its text features."""

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
"""OpenAI's mean of RGB in 0..1, used where a model states no other."""
STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_VERSION = 3
"""Part of every key of a text feature: raised when the same inputs give other features."""


@dataclass(frozen=True)
class LoadedClip:
    """A model in eval mode and how its inputs are prepared. It does not change after loading.

    Attributes:
        clip: the embedded model or open_clip's, on its device.
        tokenizer: for its texts.
        name: the name that it was loaded by.
        mean: of RGB in 0..1, for normalisation.
        std: likewise.
        size: default short side in pixels of the input for dense maps.
        weights: the argument, the file and its SHA-256, or that they are untrained.
        text: what text features depend on besides weights, templates and texts; None where that is unknown,
            and features are not cached on disk.
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
        """The part of the disk cache's keys that all text features of the model share; None as ``text``.

        It hashes the file once, or the weights in memory where no file holds them.
        """
        if self.text is None:
            return None
        weights = None if self.tuned else self.weights.sha256
        parts = f"{_VERSION} {weights or state_digest(self.clip)} {self.text}"
        return hashlib.sha256(parts.encode()).hexdigest()


def looks_like_file(weights: str) -> bool:
    """Whether ``weights`` is a file and not a tag: it looks like a path, or the file exists."""
    try:
        return "/" in weights or "\\" in weights or "." in weights or Path(weights).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name that no file system takes, or an unknown home
        return False
