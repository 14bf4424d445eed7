"""Deletion, insertion and random weights as reports: backbones x systems x data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ovseg.evaluation.data.samples import SampleSet
from ovseg.evaluation.tables.faithful import STEPS, Faithful, score_faithful, score_randomisation, stages_of
from ovseg.evaluation.tables.run import Run, Samples, applicable
from ovseg.evaluation.tables.setup import Setup
from ovseg.evaluation.tables.systems import parse_systems
from ovseg.evaluation.tables.tables import Cell, Report
from ovseg.metrics import RandomisationScore
from ovseg.options import Plain
from ovseg.results import figures

METHODS = ("clip", "clip_surgery")


def faithful(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Deletion and insertion of every label in an image (Petsiuk et al., BMVC 2018)."""
    report = Report("faithful", "Deletion and insertion")
    records: list[Plain] = []
    systems = parse_systems(methods or METHODS)

    def score(setup: Setup, samples: SampleSet) -> dict[str, Faithful]:
        return score_faithful(setup, samples, applicable(setup, systems, report)[0])

    for backbone, one, scores in run.measured(report, sets, score):
        for system in systems:
            found = scores.get(system.name)
            for mode in ("deletion", "insertion"):
                value = None if found is None else found.areas[mode].compute()
                row = (backbone.name, system.name)
                report.cells.append(Cell(row, f"{one.title} {mode}", value, digits=4))
            if found is not None:
                report.skipped += found.skipped
                areas: dict[str, Plain] = {mode: mean.compute() for mode, mean in found.areas.items()}
                records.append(
                    {"backbone": backbone.describe(), "method": system.name, "steps": STEPS,
                     "data set": one.items.title, "skipped": len(found.skipped), **areas}
                )  # fmt: skip
    report.record = {"run": run.describe(), "records": records}
    report.notes.append(
        f"The area under the cosine of the picture with the label's text, in {STEPS} steps. "
        "Deletion: lower is better; insertion: higher is better."
    )
    return report


def randomisation(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """How far a map keeps its ranks as the last layers get random weights (Adebayo et al., 2018)."""
    report = Report("randomisation", "Rank correlation after random weights")
    records: list[Plain] = []
    bars: dict[str, dict[str, float]] = {}
    systems = parse_systems(methods or METHODS)

    def score(setup: Setup, samples: SampleSet) -> dict[str, tuple[RandomisationScore, list[str]]]:
        return score_randomisation(setup, samples, applicable(setup, systems, report)[0])

    for backbone, one, scores in run.measured(report, sets, score):
        for name in (system.name for system in systems):
            correlations, skipped = scores.get(name, (None, []))
            found = {} if correlations is None else correlations.compute()
            for stage in stages_of(backbone.model).values():
                row = (backbone.name, name)
                report.cells.append(Cell(row, f"{one.title}, {stage}", found.get(stage), digits=3))
            if correlations is None:
                continue
            bars[f"{backbone.name} {name}, {one.title}"] = found
            report.skipped += skipped
            records.append(
                {"backbone": backbone.describe(), "method": name, "data set": one.items.title,
                 "correlations": dict(found), "skipped": len(skipped)}
            )  # fmt: skip
    report.record = {"run": run.describe(), "records": records}
    report.notes.append("Near 1: the map does not show what those layers have learned.")
    if bars:
        stages = list(dict.fromkeys(cell.column.rpartition(", ")[2] for cell in report.cells))
        report.pictures[""] = figures.bar_chart(
            {name: [found.get(stage, math.nan) for stage in stages] for name, found in bars.items()},
            stages,
            "Rank correlation with the untouched model's map",
        )
    return report
