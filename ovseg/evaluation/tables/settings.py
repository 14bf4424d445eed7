"""What decides about the rows of a run beside its protocol: the model and the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import ovseg
from ovseg.clip.towers import native_size
from ovseg.errors import UsageError
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.metrics.maps import default_thresholds
from ovseg.model import Model
from ovseg.options import Plain
from ovseg.weights.digest import state_digest
from ovseg.words.vocabulary import Vocabulary, as_vocabulary


def input_size(protocol: Protocol, model: Model) -> tuple[int, int]:
    """The encoder's (height, width) for maps, in whole patches: a square of ``model.size`` by default."""
    return model.input_size((1, 1), protocol.size)


def recognition_size(protocol: Protocol, model: Model) -> tuple[int, int]:
    """The encoder's (height, width) for the class token: by default the size that the tower was built for."""
    return model.input_size(
        (1, 1), native_size(model.clip.visual) if protocol.size is None else protocol.size
    )


@dataclass(frozen=True)
class Backbone:
    """A model with the name that tables show.

    Attributes:
        name: open_clip's name or that of an embedded model; NAME=WEIGHTS where a run has several of one name.
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
        return {
            "name": self.model.loaded.name,
            "weights": self.digest,
            "device": device,
            "ovseg": ovseg.__version__,
        }


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
                f"expected a vocabulary with every class of the set, it lacks {', '.join(missing[:5])}"
            )
        rows = dict(zip(vocabulary.names, vocabulary.texts, strict=True))
        return Texts(Vocabulary(tuple(names), tuple(rows[name] for name in names)))


def thresholds() -> NDArray[np.float64]:
    """The grid of thresholds of every table."""
    return default_thresholds()
