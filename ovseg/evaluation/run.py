"""What the experiments share: backbones loaded one after the other, data sets checked before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ovseg.checks import check_choice
from ovseg.clip.attention import get_method
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache
from ovseg.data.registry import Source
from ovseg.data.samples import SampleSet
from ovseg.data.tags import TagSet
from ovseg.errors import UnsupportedModelError, UsageError
from ovseg.evaluation.grids import MapMaker
from ovseg.evaluation.processes import World
from ovseg.evaluation.protocol import Protocol
from ovseg.evaluation.settings import Backbone, Texts
from ovseg.evaluation.systems import System
from ovseg.metrics import THRESHOLDS_PER
from ovseg.model import Model
from ovseg.options import Plain
from ovseg.vocabulary import Vocabulary

Bar: TypeAlias = "Callable[[int, int], None]"
Bars: TypeAlias = "Callable[[str], AbstractContextManager[Bar | None]]"
"""From what is being done to a bar that is told how much of it is."""


def no_bar(what: str) -> AbstractContextManager[Bar | None]:
    """Nothing is shown."""
    return nullcontext()


@dataclass(frozen=True)
class Named:
    """A data set of a run.

    Attributes:
        kind: as the paper's figures are looked up: a key of ``data.registry.DATA_SETS``, or "scenes".
        samples: the pictures.
    """

    kind: str
    samples: SampleSet


@dataclass(frozen=True)
class NamedTags:
    """A data set of a run whose labels have no place; see ``Named``."""

    kind: str
    tags: TagSet


@dataclass(frozen=True)
class Wanted:
    """A backbone as it was asked for: NAME or NAME=WEIGHTS.

    >>> parse_backbone("ViT-B-16-quickgelu=openai")
    Wanted(name='ViT-B-16-quickgelu', weights='openai')
    """

    name: str
    weights: str | None = None

    def __str__(self) -> str:
        return f"{self.name}={self.weights}" if self.weights else self.name


def parse_backbone(text: str) -> Wanted:
    """NAME for the embedded model or NAME=WEIGHTS. Raises UsageError for an empty part."""
    name, equals, weights = text.partition("=")
    if not name or (equals and not weights):
        raise UsageError(f"wanted a backbone as NAME or NAME=WEIGHTS, got {text!r}")
    return Wanted(name, weights or None)


@dataclass
class Run:
    """What every experiment of one call shares.

    Attributes:
        backbones: the models that were asked for.
        out: the folder of the results; rows are kept in its folder "rows".
        protocol: how images go in.
        threshold_per: which of the three thresholds the tables show, one of ``THRESHOLDS_PER``.
        vocabulary: texts for the names of every set; None for the names themselves.
        limit: the most images of a set; None for all.
        device, precision, offline: as in ``load_model``.
        world: the processes of the run.
        bars: makes a progress bar.
    """

    backbones: Sequence[Wanted]
    out: Path
    protocol: Protocol = field(default_factory=Protocol)
    threshold_per: str = "dataset"
    vocabulary: Vocabulary | None = None
    limit: int | None = None
    device: str = "cpu"
    precision: str = "fp32"
    offline: bool = False
    world: World = field(default_factory=World)
    bars: Bars = no_bar
    _kept: dict[Wanted, Backbone] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("threshold per", self.threshold_per, THRESHOLDS_PER)

    @property
    def rows(self) -> Path:
        """Where rows are kept."""
        return self.out / "rows"

    def loaded(self) -> Iterator[Backbone]:
        """The backbones, one after the other, so that two are never in memory; the last one is kept."""
        for wanted in self.backbones:
            if wanted not in self._kept:
                self._kept.clear()
                clip = load_clip(
                    wanted.name,
                    wanted.weights,
                    device=self.device,
                    precision=self.precision,
                    offline=self.offline,
                )
                self._kept[wanted] = Backbone.of(wanted.name, Model(clip, get_method("clip"), TextCache()))
            yield self._kept[wanted]

    def open(self, sources: Sequence[Source]) -> list[Named]:
        """Every set, its files and names looked at. Raises UsageError, DataError."""
        found = [Named(source.kind, source.samples().first(self.limit)) for source in sources]
        for one in found:
            one.samples.check()
            self.texts(one.samples)
        return found

    def open_tags(self, sources: Sequence[Source]) -> list[NamedTags]:
        """Every set as pictures with labels, its files looked at. Raises UsageError, DataError."""
        found = [NamedTags(source.kind, source.tags().first(self.limit)) for source in sources]
        for one in found:
            one.tags.check(headers=len(one.tags) <= 20_000)
            self.texts(one.tags)
        return found

    def texts(self, names: SampleSet | TagSet) -> Texts:
        """The texts of a set's names. Raises UsageError."""
        return Texts.of(names.names, self.vocabulary)

    def describe(self) -> dict[str, Plain]:
        """The settings of the run as JSON can hold them."""
        names: list[Plain] = [str(one) for one in self.backbones]
        return {
            "backbones": names,
            "protocol": self.protocol.describe(),
            "threshold per": self.threshold_per,
            "limit": self.limit,
            "precision": self.precision,
        }


def applicable(
    backbone: Backbone, texts: Texts, protocol: Protocol, systems: Sequence[System]
) -> tuple[list[System], dict[str, str]]:
    """The systems that apply to a backbone, and for each of the others the reason why not."""
    kept, reasons = [], {}
    for system in systems:
        try:
            MapMaker(backbone, texts, protocol, [system])
        except UnsupportedModelError as error:
            reasons[system.name] = str(error)
        else:
            kept.append(system)
    return kept, reasons
