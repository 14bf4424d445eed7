"""mSC, mIoU per positive label and the pointing game of every system's maps (Tables 1, 2, 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.data.samples import Sample, SampleSet
from ovseg.evaluation.grids import Grids, MapMaker
from ovseg.evaluation.processes import World
from ovseg.evaluation.protocol import Protocol
from ovseg.evaluation.rows import Found, measure_rows, number, numbers, plain, skip, table
from ovseg.evaluation.settings import Backbone, Texts, thresholds
from ovseg.evaluation.systems import System
from ovseg.metrics import THRESHOLDS_PER, MapSample, MeanPerClass, PerLabelScore, pointing_game, score_map
from ovseg.options import Plain
from ovseg.results import SimilarityMap

Progress: TypeAlias = "Callable[[int, int], None] | None"
TOLERANCE = 0.0
"""Pixels around the object that count as a hit of the pointing game."""


@dataclass
class MapScore:
    """The scores of one system on one set.

    Attributes:
        maps: mSC and IoU.
        pointing: the pointing game.
        images: how many images counted.
        skipped: a line for each image that could not be read or measured.
    """

    maps: PerLabelScore = field(default_factory=lambda: PerLabelScore(thresholds()))
    pointing: MeanPerClass = field(default_factory=MeanPerClass)
    images: int = 0
    skipped: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Plain]:
        """Every score in percent, and what they are means of."""
        iou: dict[str, Plain] = {per: 100 * self.maps.mean_iou(per) for per in THRESHOLDS_PER}
        return {
            "mSC": 100 * self.maps.mean_contrast(),
            "mIoU by threshold": iou,
            "best threshold": self.maps.best_threshold(),
            "pointing game": 100 * self.pointing.compute(),
            "images": self.images,
            "labels in images": self.maps.samples,
            "labels without contrast": self.maps.left_out,
            "classes": len(self.maps.overlap),
            "skipped": len(self.skipped),
            "skipped images": list(self.skipped[:20]),
        }


def score_maps(
    backbone: Backbone,
    samples: SampleSet,
    systems: Sequence[System],
    protocol: Protocol,
    folder: Path,
    *,
    texts: Texts | None = None,
    world: World | None = None,
    progress: Progress = None,
) -> dict[str, MapScore]:
    """Score the maps of every system on a set, each image encoded once for each method.

    Args:
        backbone: the model.
        samples: pictures with masks.
        systems: what is compared.
        protocol: how images go in and maps are scored.
        folder: where the rows are kept, so that a stopped run goes on.
        texts: the texts of the names; None for the names themselves.
        world: the processes of the run.
        progress: called with (images done, images in all) of this process.

    Raises:
        OvsegError: a system does not apply, or the rows cannot be written.
    """
    texts = texts or Texts.of(samples.names)
    maker = MapMaker(backbone, texts, protocol, systems)
    by_name = {system.name: system for system in systems}

    def measure(group: Sequence[Sample], wanted: Sequence[str]) -> dict[str, list[Plain]]:
        found = maker.maps(group, [by_name[name] for name in wanted])
        return {
            name: [row_of(maps, one, protocol, maker.size) for maps, one in zip(rows, group, strict=True)]
            for name, rows in found.items()
        }

    units = {system.name: unit(backbone, texts, protocol, system, "maps") for system in systems}
    rows = measure_rows(samples, units, measure, folder, world, progress, protocol.group)
    return {name: collect(found) for name, found in rows.items()}


def unit(backbone: Backbone, texts: Texts, protocol: Protocol, system: System, task: str) -> dict[str, Plain]:
    """The settings that decide about the rows of a system."""
    return {
        "task": task,
        "backbone": backbone.describe(),
        "texts": texts.vocabulary.describe(),
        "protocol": protocol.describe(),
        "system": system.describe(),
    }


def row_of(maps: Grids | str, sample: Sample, protocol: Protocol, size: tuple[int, int]) -> Plain:
    """The row of one picture: for each label its mSC, its IoU at every threshold and the pointing game."""
    if isinstance(maps, str):
        return skip(maps)
    row: dict[str, Plain] = {}
    for name, grid in maps.items():
        values, mask, valid = meet(grid, sample.masks[name], sample.valid, protocol, size)
        found = score_map(values, mask, valid, thresholds())
        row[name] = None
        if found is not None:
            row[name] = {
                "mSC": plain(found.contrast),
                "IoU": [plain(value) for value in found.overlap.tolist()],
                "pointing": plain(pointing_game(values, mask, valid, TOLERANCE)),
            }
    return row


def meet(
    grid: NDArray[np.float32],
    mask: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    protocol: Protocol,
    size: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """A map in 0..1, a mask and the pixels that count, all of the image's size or of the encoder's input."""
    shape = (mask.shape[0], mask.shape[1])
    if protocol.scored_at == "input":
        mask, valid = (_nearest(one, size) for one in (mask, valid))
        shape = size
    return SimilarityMap(grid[None], ("map",), shape)["map"], mask, valid


def _nearest(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    how = cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=how), bool)


def collect(found: Found) -> MapScore:
    """The scores of a unit's rows, in the order of the set."""
    score = MapScore(skipped=found.skipped())
    for row in found:
        score.images += 1
        for name, values in table(row).items():
            if values is None:
                score.maps.add(name, None)
                continue
            found_ones = table(values)
            overlap = np.array(numbers(found_ones["IoU"]))
            score.maps.add(name, MapSample(number(found_ones["mSC"]), overlap))
            score.pointing.update(name, number(found_ones["pointing"]))
    return score
