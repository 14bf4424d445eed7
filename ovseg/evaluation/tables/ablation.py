"""Table 3: architecture and feature surgery, each alone and both, on four tasks; points and masks among them.

Interactive segmentation turns texts into points and points into masks by the paper's rule; it scores mIoU per
positive label (Fig. 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.evaluation.data.tags import tags_of
from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.grids import NEEDS_TWO, Grids
from ovseg.evaluation.tables.maps import measure_maps, score_maps
from ovseg.evaluation.tables.recognition import score_tags
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.rows import Counted, numbers, plain, table
from ovseg.evaluation.tables.run import Backbone, Named, Run, Samples, Setup
from ovseg.evaluation.tables.semantic import INPUT, score_semantic
from ovseg.evaluation.tables.systems import TABLE3, System
from ovseg.maps.points import paper_points
from ovseg.metrics import MeanPerClass, mask_iou, point_accuracy
from ovseg.options import Plain
from ovseg.options.checks import check_size
from ovseg.segmenters.base import Segmenter

RECOGNITION = {"none": "clip", "label_set": "clip_surgery"}
"""Surgery -> rule of multi-label recognition, which reads the class token and has no other choice."""


@dataclass
class Clicked(Counted):
    """The interactive scores of one system on a set.

    Attributes:
        overlap: IoU of the masks.
        accuracy: the share of points whose label (foreground or background) is correct.
    """

    overlap: MeanPerClass = field(default_factory=MeanPerClass)
    accuracy: MeanPerClass = field(default_factory=MeanPerClass)

    def describe(self) -> dict[str, Plain]:
        """Both scores in percent, with the image counts."""
        scores = {"mIoU": 100 * self.overlap.compute(), "point accuracy": 100 * self.accuracy.compute()}
        return {**scores, **super().describe()}


def score_points(
    setup: Setup, samples: SampleSet, systems: Sequence[System], segmenter: Segmenter
) -> dict[str, Clicked]:
    """Segment each label of an image from its name alone: the paper's points, the segmenter's best candidate.

    With a single text, feature surgery over a label set is replaced by that with the empty string. A map that
    gives no points gives no mask and scores IoU 0.
    """
    alone = [replace(one, surgery="empty") if one.surgery in NEEDS_TWO else one for one in systems]
    rows = measure_maps(
        setup, samples, alone, "points",
        lambda maker, maps, sample: _row(segmenter, maps, sample), {"segmenter": segmenter.name},
    )  # fmt: skip
    scores = {}
    for name, found in rows.items():
        score = scores[name] = Clicked()
        for row in found.into(score):
            for label, values in table(row).items():
                overlap, accuracy = numbers(values)
                score.overlap.update(label, overlap)
                score.accuracy.update(label, accuracy)
    return scores


def _row(segmenter: Segmenter, maps: Grids, sample: Sample) -> Plain:
    embedding = segmenter.encode(sample.image) if maps else None
    row: dict[str, Plain] = {}
    for name, grid in maps.items():
        assert embedding is not None
        truth = sample.masks[name]
        prompts = paper_points(grid, (truth.shape[0], truth.shape[1]))
        if not (prompts.labels == 1).any():
            row[name] = [0.0, None]
            continue
        found = segmenter.decode(embedding, prompts.xy, prompts.labels)
        overlap = mask_iou(found.mask(found.best), truth, sample.valid)
        accuracy = point_accuracy(prompts.xy, prompts.labels, truth, sample.valid)
        row[name] = [plain(overlap), plain(accuracy)]
    return row


def table3(run: Run, sets: Samples, segmenter: Segmenter | None = None, size: int = INPUT) -> Report:
    """Table 3 over the four tasks.

    Args:
        run: backbones and settings.
        sets: pictures with masks.
        segmenter: for interactive segmentation; None leaves that column out.
        size: the encoder's input for label maps, a square; the paper takes 512.
    """
    check_size("size", size)
    name = None if segmenter is None else segmenter.name
    title = "Table 3: architecture and feature surgery"
    report = run.report("table3", title, more={"segmenter": name, "size of label maps": size})
    for backbone in run.loaded():
        for one in sets:
            columns = _measured(run, backbone, one, segmenter, size, report)
            for system in TABLE3:
                known = published(backbone.name, system.name, one.kind)
                found = {column: values[system.name] for column, values in columns.items()}
                report.add((backbone.name, system.name), found, known, head=f"{one.title} ")
                report.records.append(
                    {"backbone": backbone.describe(), "method": system.name, "system": system.describe(),
                     "data set": one.items.title, "paper": dict(known), **found}
                )  # fmt: skip
    report.note(
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
    columns["mIoU"] = {
        name: 100 * score.maps.mean_iou(run.options.threshold_per) for name, score in maps.items()
    }
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


def published(backbone: str, row: str, kind: str) -> dict[str, float]:
    if (paper.plain_backbone(backbone), kind) != ("ViT-B-16", "pascal_context"):
        return {}
    return paper.TABLE3[row]
