"""Deletion, insertion and random weights as reports: backbones x systems x data sets."""

from __future__ import annotations

from collections.abc import Sequence

from ovseg import figures
from ovseg.errors import UnsupportedModelError
from ovseg.evaluation.experiments import CORNER, title_of
from ovseg.evaluation.faithful import STEPS, layers_of, score_faithful, score_randomisation
from ovseg.evaluation.run import Named, Run, applicable
from ovseg.evaluation.systems import parse_systems
from ovseg.evaluation.tables import Cell, Report
from ovseg.options import Plain

METHODS = ("clip", "clip_surgery")


def faithful(run: Run, sets: Sequence[Named], methods: Sequence[str] | None = None) -> Report:
    """Deletion and insertion of every label in an image (Petsiuk et al., BMVC 2018)."""
    report = Report("faithful", "Deletion and insertion", CORNER)
    records: list[Plain] = []
    systems = parse_systems(methods or METHODS)
    for backbone in run.loaded():
        for one in sets:
            texts = run.texts(one.samples)
            kept, _ = applicable(backbone, texts, run.protocol, systems)
            with run.bars(f"faithful: {backbone.name}, {one.samples.title}") as bar:
                scores = score_faithful(
                    backbone, one.samples, kept, run.protocol, run.rows,
                    texts=texts, world=run.world, progress=bar,
                )  # fmt: skip
            for system in systems:
                score = scores.get(system.name)
                for mode in ("deletion", "insertion"):
                    value = None if score is None else score.areas[mode].compute()
                    row = (backbone.name, system.name)
                    report.cells.append(Cell(row, f"{title_of(one)} {mode}", value, digits=4))
                if score is not None:
                    report.skipped += score.skipped
                    found: dict[str, Plain] = {mode: mean.compute() for mode, mean in score.areas.items()}
                    records.append(
                        {"backbone": backbone.describe(), "method": system.name, "steps": STEPS,
                         "data set": one.samples.title, "skipped": len(score.skipped), **found}
                    )  # fmt: skip
    report.record = {"run": run.describe(), "records": records}
    report.notes.append(
        f"The area under the cosine of the picture with the label's text, in {STEPS} steps. "
        "Deletion: lower is better; insertion: higher is better."
    )
    return report


def randomisation(run: Run, sets: Sequence[Named], methods: Sequence[str] | None = None) -> Report:
    """How far a map keeps its ranks as the last layers get random weights (Adebayo et al., 2018)."""
    report = Report("randomisation", "Rank correlation after random weights", CORNER)
    records: list[Plain] = []
    bars: dict[str, list[float]] = {}
    systems = parse_systems(methods or METHODS)
    for backbone in run.loaded():
        try:
            layers_of(backbone.model)
        except UnsupportedModelError as error:
            report.notes.append(f"{backbone.name}: {error}.")
            continue
        for one in sets:
            texts = run.texts(one.samples)
            kept, _ = applicable(backbone, texts, run.protocol, systems)
            with run.bars(f"randomisation: {backbone.name}, {one.samples.title}") as bar:
                scores = score_randomisation(
                    backbone, one.samples, kept, run.protocol, run.rows,
                    texts=texts, world=run.world, progress=bar,
                )  # fmt: skip
            for name, (score, skipped) in scores.items():
                found = score.compute()
                for stage, value in found.items():
                    row = (backbone.name, name)
                    report.cells.append(Cell(row, f"{title_of(one)}, {stage}", value, digits=3))
                bars[f"{backbone.name} {name}, {title_of(one)}"] = list(found.values())
                report.skipped += skipped
                records.append(
                    {"backbone": backbone.describe(), "method": name, "data set": one.samples.title,
                     "correlations": dict(found), "skipped": len(skipped)}
                )  # fmt: skip
    report.record = {"run": run.describe(), "records": records}
    report.notes.append("Near 1: the map does not show what those layers have learned.")
    if bars:
        stages = list(dict.fromkeys(cell.column.rpartition(", ")[2] for cell in report.cells))
        padded = {
            name: (values + [float("nan")] * len(stages))[: len(stages)] for name, values in bars.items()
        }
        report.pictures[""] = figures.bar_chart(
            padded, stages, "Rank correlation with the untouched model's map"
        )
    return report
