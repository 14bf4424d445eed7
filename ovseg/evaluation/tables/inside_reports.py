"""Figs 4, 5 and 6 as reports: backbones x data sets."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from ovseg.evaluation.tables.inside import ANSWERS, score_affinity, score_attention, score_redundancy
from ovseg.evaluation.tables.rows import slug
from ovseg.evaluation.tables.run import Run, Samples
from ovseg.evaluation.tables.tables import Cell, Report
from ovseg.options import Plain
from ovseg.results import figures

_Line: TypeAlias = "tuple[list[float], list[float]]"


def figure4(run: Run, sets: Samples) -> Report:
    """Fig. 4b: how much of the attention lies on the foreground, for raw and consistent self-attention."""
    report = Report("figure4", "Fig. 4: attention on the foreground")
    lines: dict[str, dict[str, dict[str, _Line]]] = {}  # by backbone and attention
    records: list[Plain] = []
    for backbone, one, scores in run.measured(report, sets, score_attention):
        for name, (score, skipped) in scores.items():
            report.cells.append(Cell((backbone.name, name), f"{one.title} mFSR", 100 * score.compute()))
            x, y = score.thresholds.tolist(), score.curve().tolist()
            lines.setdefault(backbone.name, {}).setdefault(name, {})[f"{one.title}: {name}"] = (x, y)
            report.skipped += skipped
            records.append(
                {"backbone": backbone.describe(), "attention": name, "data set": one.items.title,
                 "mFSR": 100 * score.compute(), "thresholds": x, "share above": y,
                 "labels in images": sum(score.shares.counts.values()), "skipped": len(skipped)}
            )  # fmt: skip
    report.record = {"run": run.describe(), "records": records}
    report.notes.append("In percent: the share of the last block's attention that lies on the label's mask.")
    for backbone_name, (raw, consistent) in ((name, found.values()) for name, found in lines.items()):
        report.pictures[slug(backbone_name)] = figures.line_chart(
            consistent, f"{backbone_name}: samples with more of the attention on the foreground",
            ("share of the attention on the foreground", "share of samples"), dashed=raw,
        )  # fmt: skip
    return report


def figure5(run: Run, sets: Samples) -> Report:
    """Fig. 5: the cosine of every module's contribution with the labels in the image."""
    report = Report(
        "figure5", "Fig. 5: affinity of modules with the labels in the image", ("backbone", "module")
    )
    records: list[Plain] = []
    for backbone, one, (score, skipped) in run.measured(report, sets, score_affinity):
        found = score.compute()
        report.cells += [
            Cell((backbone.name, module), one.title, value, digits=4) for module, value in found.items()
        ]
        report.skipped += skipped
        records.append(
            {"backbone": backbone.describe(), "data set": one.items.title, "affinity": dict(found),
             "skipped": len(skipped)}
        )  # fmt: skip
        marks = {
            kind: [(k, value) for name, value in found.items() for k in [_block(name, kind)] if k]
            for kind in ("attention", "FFN")
        }
        report.pictures[slug(f"{backbone.name} {one.items.title}")] = figures.line_chart(
            {},
            f"{backbone.name}, {one.title}: cosine with the labels in the image",
            ("block", "cosine"),
            {kind: ([k for k, _ in points], [v for _, v in points]) for kind, points in marks.items()},
            {f"answer, {name}": found[name] for name in ANSWERS if not np.isnan(found[name])},
        )
    report.record = {"run": run.describe(), "records": records}
    return report


def _block(module: str, kind: str) -> int:
    """The block of a module of this kind, 0 for another."""
    name, _, number = module.rpartition(" ")
    return int(number) if name == kind and number.isdigit() else 0


def figure6(run: Run, sets: Samples) -> Report:
    """Fig. 6: the L1 distance of the labels' maps from the empty string's map and from zero."""
    report = Report("figure6", "Fig. 6: labels' maps and the map of the empty string")
    records: list[Plain] = []
    bars: dict[str, list[float]] = {"to the empty string's map": [], "to zero": []}
    groups: list[str] = []
    for backbone, one, scores in run.measured(report, sets, score_redundancy):
        for name, (score, skipped) in scores.items():
            found = score.compute()
            row = (backbone.name, name)
            report.cells += [
                Cell(row, f"{one.title}, L1 {what}", value, digits=4) for what, value in found.items()
            ]
            groups.append(f"{backbone.name} {name}\n{one.title}")
            for column, value in zip(bars.values(), found.values(), strict=True):
                column.append(value)
            report.skipped += skipped
            records.append(
                {"backbone": backbone.describe(), "method": name, "data set": one.items.title,
                 **found, "skipped": len(skipped)}
            )  # fmt: skip
    report.record = {"run": run.describe(), "records": records}
    report.notes.append("Mean absolute differences of maps in 0..1, on the token grid.")
    report.pictures[""] = figures.bar_chart(bars, groups, "L1 distance of the labels' maps")
    return report
