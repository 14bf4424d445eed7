"""What the experiments share: data sets, checked first, and backbones, loaded one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import ovseg
from ovseg.clip.attention import get_method
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache
from ovseg.clip.towers import tower_of
from ovseg.errors import UnsupportedModelError, UsageError
from ovseg.evaluation.data.items import ItemSet
from ovseg.evaluation.data.registry import DATA_SETS, Source
from ovseg.evaluation.data.samples import SampleSet
from ovseg.evaluation.data.tags import TagSet
from ovseg.evaluation.tables.protocol import Protocol, RunOptions, Wanted
from ovseg.evaluation.tables.report import CORNER, Report
from ovseg.evaluation.tables.rows import Found, Measure, World, measure_rows
from ovseg.evaluation.tables.systems import System
from ovseg.model import Model
from ovseg.options import Plain
from ovseg.weights.files import state_digest
from ovseg.words.vocabulary import Vocabulary, as_vocabulary

Item = TypeVar("Item")
Items = TypeVar("Items", SampleSet, TagSet)
Score = TypeVar("Score")
Bar: TypeAlias = "Callable[[int, int], None]"
Bars: TypeAlias = "Callable[[str], AbstractContextManager[Bar | None]]"
"""Maps a task name to a context manager that yields a progress callback (done, total)."""
HEADERS = 20_000
"""The largest set whose file headers are read beforehand; of larger ones only existence is checked."""


def no_bar(what: str) -> AbstractContextManager[Bar | None]:
    """Shows nothing."""
    return nullcontext()


@dataclass(frozen=True)
class Backbone:
    """A model with its name in tables.

    Attributes:
        name: open_clip's name or that of an embedded model; NAME=WEIGHTS where a run has several of one name.
        model: the model with the method "clip".
        digest: of its weights in memory.
    """

    name: str
    model: Model
    digest: str = ""

    @staticmethod
    def of(name: str, model: Model) -> Backbone:
        """Make the backbone of a loaded model."""
        return Backbone(name, model.with_method("clip"), state_digest(model.clip))

    def describe(self) -> dict[str, Plain]:
        """What the model's output depends on; weights are identified by their content."""
        return {
            "name": self.model.loaded.name,
            "weights": self.digest,
            "device": self.model.device.type,
            "ovseg": ovseg.__version__,
        }


def texts_of(names: Sequence[str], vocabulary: Vocabulary | None = None) -> Vocabulary:
    """The texts of a set's names: the names themselves, or the texts of a vocabulary that contains them.

    Raises:
        UsageError: the vocabulary lacks a name of the set, or the set has no names.
    """
    if vocabulary is None:
        return as_vocabulary(list(names))
    rows = dict(zip(vocabulary.names, vocabulary.texts, strict=True))
    missing = [name for name in names if name not in rows]
    if missing:
        raise UsageError(
            f"expected a vocabulary with every class of the set, it lacks {', '.join(missing[:5])}"
        )
    return Vocabulary(tuple(names), tuple(rows[name] for name in names))


@dataclass(frozen=True)
class Setup:
    """The common inputs of every score of one backbone on one data set; made by ``Run.setup``.

    Attributes:
        backbone: the model.
        texts: the texts of each name of the set, in its order.
        protocol: how images are encoded and maps are scored.
        folder: the folder of the rows, from which a stopped run resumes.
        world: the processes of the run.
        progress: called with (images done, images in all) of this process.
    """

    backbone: Backbone
    texts: Vocabulary
    protocol: Protocol
    folder: Path
    world: World = field(default_factory=World)
    progress: Bar | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The encoder's (height, width) for maps, in whole patches: a square of ``model.size`` by default."""
        return self.backbone.model.input_size((1, 1), self.protocol.size)

    @property
    def recognition_size(self) -> tuple[int, int]:
        """The same for the class token: by default the size that the tower was built for."""
        model, size = self.backbone.model, self.protocol.size
        return model.input_size((1, 1), tower_of(model.clip.visual).native_size if size is None else size)

    def unit(self, task: str, system: System, more: Mapping[str, Plain] = {}) -> dict[str, Plain]:
        """The settings that a system's rows depend on; ``more`` are those of the task."""
        return {
            "task": task,
            "input": list(self.size),
            "backbone": self.backbone.describe(),
            "texts": self.texts.describe(),
            "protocol": self.protocol.describe(),
            "system": system.describe(),
            **more,
        }

    def systems_rows(
        self,
        items: ItemSet[Item],
        systems: Sequence[System],
        task: str,
        measure: Callable[[Sequence[Item], list[System]], Mapping[str, Sequence[Plain]]],
        more: Mapping[str, Plain] = {},
    ) -> dict[str, Found]:
        """System name -> rows; ``measure`` makes the rows of some pictures and systems."""
        by_name = {system.name: system for system in systems}
        units = {name: self.unit(task, system, more) for name, system in by_name.items()}
        return self.rows(
            items, units, lambda group, wanted: measure(group, [by_name[name] for name in wanted])
        )

    def rows(
        self, items: ItemSet[Item], units: Mapping[str, Mapping[str, Plain]], measure: Measure[Item]
    ) -> dict[str, Found]:
        """``measure_rows`` with this setup's folder, processes and group size."""
        return measure_rows(
            items, units, measure, self.folder, self.world, self.progress, self.protocol.group
        )


@dataclass(frozen=True)
class Named(Generic[Items]):
    """A data set of a run.

    Attributes:
        kind: a key of ``data.registry.DATA_SETS``, or "scenes"; the paper's values are looked up by it.
        items: the pictures, with masks or image-level labels.
    """

    kind: str
    items: Items

    @property
    def title(self) -> str:
        """The set's title in a table: the paper's name for it, or the folder's."""
        known = DATA_SETS.get(self.kind)
        return known.title if known and known.title else self.items.title


Samples: TypeAlias = "Sequence[Named[SampleSet]]"


@dataclass
class Run:
    """What every experiment of one call shares.

    Attributes:
        backbones: the models that were asked for.
        out: the folder of the results; rows are kept in its folder "rows".
        protocol: how images go in and maps are scored.
        options: how models are loaded, which pictures are taken, what a threshold serves for.
        vocabulary: texts for the names of every set; None for the names themselves.
        world: the processes of the run.
        bars: makes a progress bar.
    """

    backbones: Sequence[Wanted]
    out: Path
    protocol: Protocol = field(default_factory=Protocol)
    options: RunOptions = field(default_factory=RunOptions)
    vocabulary: Vocabulary | None = None
    world: World = field(default_factory=World)
    bars: Bars = no_bar
    _kept: dict[Wanted, Backbone] = field(default_factory=dict, init=False, repr=False)

    def loaded(self) -> Iterator[Backbone]:
        """The backbones, one after the other, so that two are never in memory; the last one is kept.

        A name that is asked for with several weights is shown with them.
        """
        names = [wanted.name for wanted in self.backbones]
        for wanted in self.backbones:
            if wanted not in self._kept:
                self._kept.clear()
                self._kept[wanted] = self._load(wanted, names.count(wanted.name) == 1)
            yield self._kept[wanted]

    def _load(self, wanted: Wanted, is_alone: bool) -> Backbone:
        options = self.options
        clip = load_clip(
            wanted.name,
            wanted.weights,
            device=options.device,
            precision=options.precision,
            offline=options.offline,
        )
        model = Model(clip, get_method("clip"), TextCache() if options.cache else None)
        return Backbone.of(wanted.name if is_alone else str(wanted), model)

    def open(self, sources: Sequence[Source]) -> list[Named[SampleSet]]:
        """Every set, its files and names looked at. Raises UsageError, DataError."""
        return self._checked([Named(one.kind, self._chosen(one.samples())) for one in sources])

    def open_tags(self, sources: Sequence[Source]) -> list[Named[TagSet]]:
        """Every set as pictures with labels, its files looked at. Raises UsageError, DataError."""
        return self._checked([Named(one.kind, self._chosen(one.tags())) for one in sources])

    def _chosen(self, items: Items) -> Items:
        return items.every(self.options.every).first(self.options.limit)

    def _checked(self, sets: list[Named[Items]]) -> list[Named[Items]]:
        titles = [one.title for one in sets]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice is not None:  # they would be one column
            raise UsageError(
                f"expected data sets with a title each, got {twice!r} twice: measure them one by one"
            )
        for one in sets:
            one.items.check(headers=not isinstance(one.items, TagSet) or len(one.items) <= HEADERS)
            texts_of(one.items.names, self.vocabulary)
        return sets

    @contextmanager
    def setup(self, backbone: Backbone, items: SampleSet | TagSet, what: str) -> Iterator[Setup]:
        """The inputs of a backbone's scores on a set, with a progress bar titled ``what``."""
        texts = texts_of(items.names, self.vocabulary)
        with self.bars(f"{what}: {backbone.name}, {items.title}") as bar:
            yield Setup(backbone, texts, self.protocol, self.out / "rows", self.world, bar)

    def measured(
        self, report: Report, sets: Sequence[Named[Items]], score: Callable[[Setup, Items], Score]
    ) -> Iterator[tuple[Backbone, Named[Items], Score]]:
        """Run ``score`` for each backbone on each set; an unsupported backbone becomes a note."""
        for backbone in self.loaded():
            for one in sets:
                try:
                    with self.setup(backbone, one.items, report.name) as setup:
                        found = score(setup, one.items)
                except UnsupportedModelError as error:
                    report.note(f"{backbone.name}: {error}.")
                    break
                yield backbone, one, found

    def report(
        self, name: str, title: str, corner: tuple[str, ...] = CORNER, more: Mapping[str, Plain] = {}
    ) -> Report:
        """Start an empty report with the run's settings, and ``more`` for its JSON file."""
        return Report(name, title, {"run": self.describe(), **more}, corner)

    def describe(self) -> dict[str, Plain]:
        """The settings of the run, as JSON content."""
        options = self.options
        return {
            "backbones": [str(one) for one in self.backbones],
            "protocol": self.protocol.describe(),
            "threshold per": options.threshold_per,
            "every": options.every,
            "limit": options.limit,
            "precision": options.precision,
        }
