"""What the experiments share: backbones one after the other on data sets that were checked before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from ovseg.clip.attention import get_method
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache
from ovseg.errors import UnsupportedModelError, UsageError
from ovseg.evaluation.data.registry import DATA_SETS, Source
from ovseg.evaluation.data.samples import SampleSet
from ovseg.evaluation.data.tags import TagSet
from ovseg.evaluation.tables.grids import MapMaker
from ovseg.evaluation.tables.processes import World
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.evaluation.tables.settings import Backbone, Texts
from ovseg.evaluation.tables.setup import Setup
from ovseg.evaluation.tables.systems import System
from ovseg.evaluation.tables.tables import Report
from ovseg.metrics import THRESHOLDS_PER
from ovseg.model import Model
from ovseg.options import Plain
from ovseg.options.checks import check_choice
from ovseg.words.vocabulary import Vocabulary

Items = TypeVar("Items", SampleSet, TagSet)
Score = TypeVar("Score")
Bar: TypeAlias = "Callable[[int, int], None]"
Bars: TypeAlias = "Callable[[str], AbstractContextManager[Bar | None]]"
"""From what is being done to a bar that is told how much of it is."""


def no_bar(what: str) -> AbstractContextManager[Bar | None]:
    """Nothing is shown."""
    return nullcontext()


@dataclass(frozen=True)
class Named(Generic[Items]):
    """A data set of a run.

    Attributes:
        kind: as the paper's figures are looked up: a key of ``data.registry.DATA_SETS``, or "scenes".
        items: the pictures, with masks or with labels that have no place.
    """

    kind: str
    items: Items

    @property
    def title(self) -> str:
        """The set's head in a table: the paper's name for it, or the folder's own."""
        known = DATA_SETS.get(self.kind)
        return known.title if known and known.title else self.items.title


Samples: TypeAlias = "Sequence[Named[SampleSet]]"


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
        raise UsageError(f"expected a backbone as NAME or NAME=WEIGHTS, got {text!r}")
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
        every: each which image of a set is taken, 1 for all.
        limit: the most images of a set after that; None for all.
        device, precision, offline: as in ``load_model``.
        world: the processes of the run.
        bars: makes a progress bar.
    """

    backbones: Sequence[Wanted]
    out: Path
    protocol: Protocol = field(default_factory=Protocol)
    threshold_per: str = "dataset"
    vocabulary: Vocabulary | None = None
    every: int = 1
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
        """The backbones, one after the other, so that two are never in memory; the last one is kept.

        A name that is asked for with several weights is shown with them.
        """
        names = [wanted.name for wanted in self.backbones]
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
                shown = wanted.name if names.count(wanted.name) == 1 else str(wanted)
                self._kept[wanted] = Backbone.of(shown, Model(clip, get_method("clip"), TextCache()))
            yield self._kept[wanted]

    def open(self, sources: Sequence[Source]) -> list[Named[SampleSet]]:
        """Every set, its files and names looked at. Raises UsageError, DataError."""
        found = [Named(source.kind, self._chosen(source.samples())) for source in sources]
        _check_titles([one.title for one in found])
        for one in found:
            one.items.check()
            self.texts(one.items)
        return found

    def open_tags(self, sources: Sequence[Source]) -> list[Named[TagSet]]:
        """Every set as pictures with labels, its files looked at. Raises UsageError, DataError."""
        found = [Named(source.kind, self._chosen(source.tags())) for source in sources]
        _check_titles([one.title for one in found])
        for one in found:
            one.items.check(headers=len(one.items) <= 20_000)
            self.texts(one.items)
        return found

    def _chosen(self, items: Items) -> Items:
        return items.every(self.every).first(self.limit)

    def texts(self, names: SampleSet | TagSet) -> Texts:
        """The texts of a set's names. Raises UsageError."""
        return Texts.of(names.names, self.vocabulary)

    @contextmanager
    def setup(self, backbone: Backbone, items: SampleSet | TagSet, what: str) -> Iterator[Setup]:
        """What the scores of a backbone on a set are given, with a bar that says what is being done."""
        with self.bars(f"{what}: {backbone.name}, {items.title}") as bar:
            yield Setup(backbone, self.texts(items), self.protocol, self.rows, self.world, bar)

    def measured(
        self, report: Report, sets: Sequence[Named[Items]], score: Callable[[Setup, Items], Score]
    ) -> Iterator[tuple[Backbone, Named[Items], Score]]:
        """What ``score`` finds for each backbone on each set; a backbone that it refuses becomes a note."""
        for backbone in self.loaded():
            for one in sets:
                try:
                    with self.setup(backbone, one.items, report.name) as setup:
                        found = score(setup, one.items)
                except UnsupportedModelError as error:
                    report.note(f"{backbone.name}: {error}.")
                    break
                yield backbone, one, found

    def describe(self) -> dict[str, Plain]:
        """The settings of the run as JSON can hold them."""
        names: list[Plain] = [str(one) for one in self.backbones]
        return {
            "backbones": names,
            "protocol": self.protocol.describe(),
            "threshold per": self.threshold_per,
            "every": self.every,
            "limit": self.limit,
            "precision": self.precision,
        }


def _check_titles(titles: Sequence[str]) -> None:
    """Raise UsageError where two sets would be one column."""
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if twice is not None:
        raise UsageError(
            f"expected data sets with a title each, got {twice!r} twice: measure them one by one"
        )


def applicable(
    setup: Setup, systems: Sequence[System], report: Report
) -> tuple[list[System], dict[str, str]]:
    """The systems that apply to a backbone, and why each of the others does not, also as a note."""
    kept, reasons = [], {}
    for system in systems:
        try:
            MapMaker(setup, [system])
        except UnsupportedModelError as error:
            reasons[system.name] = str(error)
            report.note(f"{setup.backbone.name}, {system.name}: {error}.")
        else:
            kept.append(system)
    return kept, reasons
