"""What every score of one backbone on one data set is given: the model, the texts, the protocol, the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from ovseg.evaluation.data.items import ItemSet
from ovseg.evaluation.tables.processes import World
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.evaluation.tables.rows import Found, Measure, measure_rows
from ovseg.evaluation.tables.settings import Backbone, Texts, input_size
from ovseg.evaluation.tables.systems import System
from ovseg.options import Plain

Item = TypeVar("Item")
Progress: TypeAlias = "Callable[[int, int], None] | None"


@dataclass(frozen=True)
class Setup:
    """One backbone on one data set; a ``Run`` makes it.

    Attributes:
        backbone: the model.
        texts: the names of the set with their texts.
        protocol: how images go in and maps are scored.
        folder: where the rows are kept, so that a stopped run goes on.
        world: the processes of the run.
        progress: called with (images done, images in all) of this process.
    """

    backbone: Backbone
    texts: Texts
    protocol: Protocol
    folder: Path
    world: World = field(default_factory=World)
    progress: Progress = None

    def unit(self, task: str, system: System, more: Mapping[str, Plain] = {}) -> dict[str, Plain]:
        """The settings that decide about the rows of a system; ``more`` are those of one task alone."""
        return {
            "task": task,
            "input": list(input_size(self.protocol, self.backbone.model)),
            "backbone": self.backbone.describe(),
            "texts": self.texts.vocabulary.describe(),
            "protocol": self.protocol.describe(),
            "system": system.describe(),
            **more,
        }

    def rows(
        self, items: ItemSet[Item], units: Mapping[str, Mapping[str, Plain]], measure: Measure[Item]
    ) -> dict[str, Found]:
        """``measure_rows`` with the folder, the processes and the groups of this setup."""
        return measure_rows(
            items, units, measure, self.folder, self.world, self.progress, self.protocol.group
        )
