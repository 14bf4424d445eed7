"""Table 3: architecture and feature surgery, each alone and both, on four tasks."""

from __future__ import annotations

from ovseg.evaluation.data.samples import SampleSet
from ovseg.evaluation.data.tags import tags_of
from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.interactive import score_points
from ovseg.evaluation.tables.maps import score_maps
from ovseg.evaluation.tables.recognition import score_tags
from ovseg.evaluation.tables.run import Named, Run, Samples
from ovseg.evaluation.tables.semantic import INPUT, score_semantic
from ovseg.evaluation.tables.settings import Backbone
from ovseg.evaluation.tables.systems import TABLE3
from ovseg.evaluation.tables.tables import Cell, Report
from ovseg.options import Plain
from ovseg.options.checks import check_size
from ovseg.segmenters.base import Segmenter

RECOGNITION = {"none": "clip", "label_set": "clip_surgery"}
"""Of each surgery of the rows the rule of multi-label recognition: the class token knows no other method."""


def table3(run: Run, sets: Samples, segmenter: Segmenter | None = None, size: int = INPUT) -> Report:
    """Table 3 over the four tasks.

    Args:
        run: backbones and settings.
        sets: pictures with masks.
        segmenter: for interactive segmentation; None leaves that column out.
        size: the encoder's input for label maps, a square; the paper takes 512.
    """
    check_size("size", size)
    report = Report("table3", "Table 3: architecture and feature surgery")
    records: list[Plain] = []
    for backbone in run.loaded():
        for one in sets:
            columns = _measured(run, backbone, one, segmenter, size, report)
            for system in TABLE3:
                known = _published(backbone.name, system.name, one.kind)
                for column, values in columns.items():
                    cell = (backbone.name, system.name), f"{one.title} {column}", values[system.name]
                    report.cells.append(Cell(*cell, known.get(column)))
                found: dict[str, Plain] = {column: values[system.name] for column, values in columns.items()}
                records.append(
                    {"backbone": backbone.describe(), "method": system.name, "system": system.describe(),
                     "data set": one.items.title, "paper": dict(known), **found}
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
    run: Run,
    backbone: Backbone,
    one: Named[SampleSet],
    segmenter: Segmenter | None,
    size: int,
    report: Report,
) -> dict[str, dict[str, float]]:
    """For each column the score of each row, in percent."""
    columns = dict[str, dict[str, float]]()
    with run.setup(backbone, one.items, "table3, explainability") as setup:
        maps = score_maps(setup, one.items, TABLE3)
    columns["mSC"] = {name: 100 * score.maps.mean_contrast() for name, score in maps.items()}
    columns["mIoU"] = {name: 100 * score.maps.mean_iou(run.threshold_per) for name, score in maps.items()}
    report.skipped += [line for score in maps.values() for line in score.skipped]
    with run.setup(backbone, one.items, "table3, recognition") as setup:
        tagged = score_tags(setup, tags_of(one.items))
    columns["multi-label mAP"] = {
        system.name: 100 * tagged[RECOGNITION[system.surgery]].score.compute() for system in TABLE3
    }
    with run.setup(backbone, one.items, "table3, label maps") as setup:
        labels = score_semantic(setup, one.items, TABLE3, size=size)
    columns["semantic mIoU"] = {name: 100 * score.score.compute() for name, score in labels.items()}
    if segmenter is not None:
        with run.setup(backbone, one.items, "table3, points") as setup:
            points = score_points(setup, one.items, TABLE3, segmenter)
        columns["interactive mIoU"] = {name: 100 * score.overlap.compute() for name, score in points.items()}
        columns["point accuracy"] = {name: 100 * score.accuracy.compute() for name, score in points.items()}
    return columns


def _published(backbone: str, row: str, kind: str) -> dict[str, float]:
    if (paper.plain_backbone(backbone), kind) != ("ViT-B-16", "pascal_context"):
        return {}
    return paper.TABLE3[row]
