"""mSC, mIoU per positive label and the pointing game of every system's maps (Tables 1, 2, 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.evaluation.tables.grids import Grids, MapMaker
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.evaluation.tables.rows import Found, describe_skipped, number, numbers, plain, skip, table
from ovseg.evaluation.tables.settings import thresholds
from ovseg.evaluation.tables.setup import Setup
from ovseg.evaluation.tables.systems import System
from ovseg.metrics import THRESHOLDS_PER, MapSample, MeanPerClass, PerLabelScore, pointing_game, score_map
from ovseg.options import Plain
from ovseg.results import SimilarityMap

RowOf: TypeAlias = "Callable[[MapMaker, Grids, Sample], Plain]"
"""From the maps of a picture's labels to its row."""
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
            **describe_skipped(self.skipped),
        }


def measure_maps(
    setup: Setup,
    samples: SampleSet,
    systems: Sequence[System],
    task: str,
    row_of: RowOf,
    more: Mapping[str, Plain] = {},
) -> dict[str, Found]:
    """A row for each picture from every system's maps, each picture encoded once for each method.

    Args:
        setup: the model, the texts and the protocol.
        samples: pictures with masks.
        systems: what is compared.
        task: what the rows are called among those of other measurements.
        row_of: makes a row from the maps of a picture's labels.
        more: what decides about the rows beside ``setup`` and the system.

    Returns:
        The rows of each system, by its name.

    Raises:
        OvsegError: a system does not apply, or the rows cannot be written.
    """
    maker = MapMaker(setup, systems)
    by_name = {system.name: system for system in systems}

    def measure(group: Sequence[Sample], wanted: Sequence[str]) -> dict[str, list[Plain]]:
        found = maker.maps(group, [by_name[name] for name in wanted])
        return {
            name: [
                skip(maps) if isinstance(maps, str) else row_of(maker, maps, one)
                for maps, one in zip(rows, group, strict=True)
            ]
            for name, rows in found.items()
        }

    units = {system.name: setup.unit(task, system, more) for system in systems}
    return setup.rows(samples, units, measure)


def score_maps(setup: Setup, samples: SampleSet, systems: Sequence[System]) -> dict[str, MapScore]:
    """mSC, IoU and the pointing game of every system's maps on a set; errors as of ``measure_maps``."""
    rows = measure_maps(setup, samples, systems, "maps", row_of)
    return {name: collect(found) for name, found in rows.items()}


def row_of(maker: MapMaker, maps: Grids, sample: Sample) -> Plain:
    """The row of one picture: for each label its mSC, its IoU at every threshold and the pointing game."""
    row: dict[str, Plain] = {}
    for name, grid in maps.items():
        values, mask, valid = meet(grid, sample.masks[name], sample.valid, maker.protocol, maker.size)
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
