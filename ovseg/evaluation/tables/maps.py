"""Tables 1, 2 and 4: mSC, mIoU per positive label and the pointing game of every system's maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.clip.towers import tower_of
from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.grids import Grids, MapMaker, applicable
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.rows import Counted, Found, number, numbers, plain, skip, table
from ovseg.evaluation.tables.run import Backbone, Run, Samples, Setup, texts_of
from ovseg.evaluation.tables.systems import System, depths, parse_systems, table4
from ovseg.metrics import (
    THRESHOLDS_PER,
    MapSample,
    MeanPerClass,
    PerLabelScore,
    default_thresholds,
    pointing_game,
    score_map,
)
from ovseg.options import Plain
from ovseg.results import SimilarityMap, figures

RowOf: TypeAlias = "Callable[[MapMaker, Grids, Sample], Plain]"
"""Makes a picture's row from the maps of its labels."""
Choose: TypeAlias = "Callable[[Backbone], Sequence[System]]"
"""The systems that are compared on a backbone."""
TOLERANCE = 0.0
"""Tolerance of the pointing game: pixels around the object that count as a hit."""


@dataclass
class MapScore(Counted):
    """The scores of one system on one set.

    Attributes:
        maps: mSC and IoU.
        pointing: the pointing game.
    """

    maps: PerLabelScore = field(default_factory=PerLabelScore)
    pointing: MeanPerClass = field(default_factory=MeanPerClass)

    def describe(self) -> dict[str, Plain]:
        """Every score in percent, with the counts behind the means."""
        iou: dict[str, Plain] = {per: 100 * self.maps.mean_iou(per) for per in THRESHOLDS_PER}
        return {
            "mSC": 100 * self.maps.mean_contrast(),
            "mIoU by threshold": iou,
            "best threshold": self.maps.best_threshold(),
            "pointing game": 100 * self.pointing.compute(),
            "labels in images": self.maps.samples,
            "labels without contrast": self.maps.left_out,
            "classes": len(self.maps.overlap),
            **super().describe(),
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

    def measure(group: Sequence[Sample], wanted: Sequence[System]) -> dict[str, list[Plain]]:
        return {
            name: [
                skip(maps) if isinstance(maps, str) else row_of(maker, maps, one)
                for maps, one in zip(rows, group, strict=True)
            ]
            for name, rows in maker.maps(group, wanted).items()
        }

    return setup.systems_rows(samples, systems, task, measure, more)


def score_maps(setup: Setup, samples: SampleSet, systems: Sequence[System]) -> dict[str, MapScore]:
    """mSC, IoU and the pointing game of every system's maps on a set; errors as of ``measure_maps``."""
    rows = measure_maps(setup, samples, systems, "maps", _row)
    return {name: _collected(found) for name, found in rows.items()}


def _row(maker: MapMaker, maps: Grids, sample: Sample) -> Plain:
    """One picture's row: mSC, IoU at every threshold and the pointing game, for each label."""
    row: dict[str, Plain] = {}
    for name, grid in maps.items():
        values, mask, valid = _meet(grid, sample.masks[name], sample.valid, maker.protocol, maker.size)
        found = score_map(values, mask, valid, default_thresholds())
        row[name] = None
        if found is not None:
            row[name] = {
                "mSC": plain(found.contrast),
                "IoU": [plain(value) for value in found.overlap.tolist()],
                "pointing": plain(pointing_game(values, mask, valid, TOLERANCE)),
            }
    return row


def _meet(
    grid: NDArray[np.float32],
    mask: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    protocol: Protocol,
    size: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """A map in 0..1, a mask and the valid pixels, all at the image's size or the encoder's input size."""
    shape = (mask.shape[0], mask.shape[1])
    if protocol.scored_at == "input":
        mask, valid = (_nearest(one, size) for one in (mask, valid))
        shape = size
    return SimilarityMap(grid[None], ("map",), shape)["map"], mask, valid


def _nearest(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    how = cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=how), bool)


def _collected(found: Found) -> MapScore:
    """The scores of a unit's rows, in the order of the set."""
    score = MapScore()
    for row in found.into(score):
        for name, values in table(row).items():
            if values is None:
                score.maps.add(name, None)
                continue
            each = table(values)
            overlap = np.array(numbers(each["IoU"]))
            score.maps.add(name, MapSample(number(each["mSC"]), overlap))
            score.pointing.update(name, number(each["pointing"]))
    return score


# ----------------------------------------------------------------------------------------- the reports


def table1(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Table 1: mIoU and mSC of CLIP and of CLIP Surgery, or of other systems, on every backbone and set."""
    systems = parse_systems(methods or ("clip", "clip_surgery"))
    return _map_table(run, sets, "table1", "Table 1: explainability", lambda backbone: systems)


def table2(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Table 2: the explanation methods that the paper compares; ECLIP as "eclip=FOLDER" with saved maps."""

    def choose(backbone: Backbone) -> list[System]:
        known = [name for name in paper.known_methods(backbone.name) if name != "eclip"]
        return parse_systems(methods or known)

    return _map_table(run, sets, "table2", "Table 2: methods of explanation", choose)


def table4_report(run: Run, sets: Samples) -> Report:
    """Table 4: last block or several, one path or two, attention and feed-forward networks."""

    def choose(backbone: Backbone) -> list[System]:
        return table4(tower_of(backbone.model.clip.visual))

    def published(backbone: str, system: str, kind: str) -> dict[str, float]:
        known = (paper.plain_backbone(backbone), kind) == ("ViT-B-16", "pascal_context")
        return {"mSC": paper.TABLE4[system]} if known else {}

    return _map_table(run, sets, "table4", "Table 4: blocks, paths and FFN", choose, published)


def depth_report(run: Run, sets: Samples) -> Report:
    """mSC by the block d at which the new path starts, 1 to 10 (paper: a spread of 0.42 points)."""

    def choose(backbone: Backbone) -> list[System]:
        return depths(tower_of(backbone.model.clip.visual))

    report = _map_table(run, sets, "depth", "The first block d of the new path", choose, lambda *names: {})
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for cell in report.cells:
        if cell.column.endswith("mSC") and cell.value is not None:
            x, y = lines.setdefault(f"{cell.row[0]}, {cell.column.removesuffix(' mSC')}", ([], []))
            x.append(float(cell.row[1].removeprefix("d = ")))
            y.append(cell.value)
    if lines:
        title = "mSC by the first block of the new path"
        report.pictures[""] = figures.line_chart(lines, title, ("d", "mSC, %"))
    return report


def _map_table(
    run: Run,
    sets: Samples,
    name: str,
    title: str,
    choose: Choose,
    published: Callable[[str, str, str], dict[str, float]] = paper.map_scores,
) -> Report:
    report = run.report(name, title)

    def score(
        setup: Setup, samples: SampleSet
    ) -> tuple[Sequence[System], dict[str, MapScore], dict[str, str]]:
        systems = choose(setup.backbone)
        kept, reasons = applicable(setup, systems, report)
        return systems, score_maps(setup, samples, kept), reasons

    for backbone, one, (systems, scores, reasons) in run.measured(report, sets, score):
        for system in systems:
            found = scores.get(system.name)
            known = published(backbone.name, system.name, one.kind)
            shown = map_values(found, run.options.threshold_per)
            report.add((backbone.name, system.name), shown, known, head=f"{one.title} ")
            record: dict[str, Plain] = {
                "backbone": backbone.describe(),
                "method": system.name,
                "system": system.describe(),
                "data set": one.items.title,
                "kind": one.kind,
                "texts": texts_of(one.items.names, run.vocabulary).describe(),
                "paper": dict(known),
            }
            if found is None:
                report.records.append({**record, "does not apply": reasons[system.name]})
            else:
                report.records.append(record | found.describe())
                report.skipped += [f"{system.name}: {line}" for line in found.skipped]
    report.note(_threshold_note(run))
    return report


def map_values(score: MapScore | None, threshold_per: str) -> dict[str, float | None]:
    """mIoU and mSC in percent; None if a system does not apply."""
    if score is None:
        return {"mIoU": None, "mSC": None}
    return {"mIoU": 100 * score.maps.mean_iou(threshold_per), "mSC": 100 * score.maps.mean_contrast()}


def _threshold_note(run: Run) -> str:
    serves = {"dataset": "each data set", "class": "each class", "image": "each map"}
    return (
        f"In percent. mIoU per positive label with the best threshold of {serves[run.options.threshold_per]}, "
        f"scored at the size of the {run.protocol.scored_at}; feature surgery over the names of the "
        f"{run.protocol.surgery_over}. The JSON file has every threshold's mIoU and the pointing game."
    )
