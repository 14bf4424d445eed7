"""Table 3: architecture and feature surgery, each alone and both, on four tasks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from ovseg.checks import check_size
from ovseg.data.tags import tags_of
from ovseg.evaluation import paper
from ovseg.evaluation.experiments import CORNER, title_of
from ovseg.evaluation.interactive import score_points
from ovseg.evaluation.maps import score_maps
from ovseg.evaluation.recognition import score_tags
from ovseg.evaluation.run import Bar, Named, Run
from ovseg.evaluation.semantic import score_semantic
from ovseg.evaluation.semantic_reports import INPUT
from ovseg.evaluation.settings import Backbone
from ovseg.evaluation.systems import TABLE3
from ovseg.evaluation.tables import Cell, Report
from ovseg.options import Plain
from ovseg.segmenters.base import Segmenter

RECOGNITION = {None: "clip", "label_set": "clip_surgery"}
"""Of each surgery of the rows the rule of multi-label recognition: the class token knows no other method."""


def table3(run: Run, sets: Sequence[Named], segmenter: Segmenter | None = None, size: int = INPUT) -> Report:
    """Table 3 over the four tasks.

    Args:
        run: backbones and settings.
        sets: pictures with masks.
        segmenter: for interactive segmentation; None leaves that column out.
        size: the encoder's input for label maps, a square; the paper takes 512.
    """
    check_size("size", size)
    report = Report("table3", "Table 3: architecture and feature surgery", CORNER)
    records: list[Plain] = []
    for backbone in run.loaded():
        for one in sets:
            columns = _measured(run, backbone, one, segmenter, size, report)
            for system in TABLE3:
                known = _published(backbone.name, system.name, one.kind)
                for column, values in columns.items():
                    cell = (backbone.name, system.name), f"{title_of(one)} {column}", values[system.name]
                    report.cells.append(Cell(*cell, known.get(column)))
                found: dict[str, Plain] = {column: values[system.name] for column, values in columns.items()}
                records.append(
                    {"backbone": backbone.describe(), "method": system.name, "system": system.describe(),
                     "data set": one.samples.title, "paper": dict(known), **found}
                )  # fmt: skip
    name = None if segmenter is None else segmenter.name
    report.record = {"run": run.describe(), "segmenter": name, "size of label maps": size, "records": records}
    report.notes.append(
        "In percent. Feature surgery in the paper's form changes no label map, so its two rows of semantic "
        "mIoU are equal to those above them; multi-label recognition takes the softmax without it. A point "
        "prompt has one text alone: there feature surgery is that with the empty string."
    )
    return report


def _measured(
    run: Run, backbone: Backbone, one: Named, segmenter: Segmenter | None, size: int, report: Report
) -> dict[str, dict[str, float]]:
    """For each column the score of each row, in percent."""
    texts, columns = run.texts(one.samples), dict[str, dict[str, float]]()

    def bar(task: str) -> AbstractContextManager[Bar | None]:
        return run.bars(f"table3, {task}: {backbone.name}, {one.samples.title}")

    with bar("explainability") as progress:
        maps = score_maps(
            backbone, one.samples, TABLE3, run.protocol, run.rows,
            texts=texts, world=run.world, progress=progress,
        )  # fmt: skip
    columns["mSC"] = {name: 100 * score.maps.mean_contrast() for name, score in maps.items()}
    columns["mIoU"] = {name: 100 * score.maps.mean_iou(run.threshold_per) for name, score in maps.items()}
    report.skipped += [line for score in maps.values() for line in score.skipped]
    with bar("recognition") as progress:
        tagged = score_tags(
            backbone, tags_of(one.samples), run.protocol, run.rows,
            texts=texts, world=run.world, progress=progress,
        )  # fmt: skip
    columns["multi-label mAP"] = {
        system.name: 100 * tagged[RECOGNITION[system.surgery]].score.compute() for system in TABLE3
    }
    with bar("label maps") as progress:
        labels = score_semantic(
            backbone, one.samples, TABLE3, run.protocol, run.rows, texts=texts,
            size=size, world=run.world, progress=progress,
        )  # fmt: skip
    columns["semantic mIoU"] = {name: 100 * score.score.compute() for name, score in labels.items()}
    if segmenter is not None:
        with bar("points") as progress:
            points = score_points(
                backbone, one.samples, TABLE3, segmenter, run.protocol, run.rows,
                texts=texts, world=run.world, progress=progress,
            )  # fmt: skip
        columns["interactive mIoU"] = {name: 100 * score.overlap.compute() for name, score in points.items()}
        columns["point accuracy"] = {name: 100 * score.accuracy.compute() for name, score in points.items()}
    return columns


def _published(backbone: str, row: str, kind: str) -> dict[str, float]:
    if (paper.plain_backbone(backbone), kind) != ("ViT-B-16", "pascal_context"):
        return {}
    return paper.TABLE3[row]
