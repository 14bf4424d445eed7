"""Words to points to masks by the paper's rule: mIoU per positive label (Fig. 10, Table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.evaluation.tables.grids import NEEDS_TWO, Grids
from ovseg.evaluation.tables.maps import measure_maps
from ovseg.evaluation.tables.rows import describe_skipped, numbers, plain, table
from ovseg.evaluation.tables.setup import Setup
from ovseg.evaluation.tables.systems import System
from ovseg.maps.points import paper_points
from ovseg.metrics import MeanPerClass, mask_iou, point_accuracy
from ovseg.options import Plain
from ovseg.segmenters.base import Segmenter


@dataclass
class Clicked:
    """What one system scores on a set.

    Attributes:
        overlap: IoU of the masks.
        accuracy: the share of points on the right side of the border.
        images: how many images counted.
        skipped: a line for each image that could not be read or measured.
    """

    overlap: MeanPerClass = field(default_factory=MeanPerClass)
    accuracy: MeanPerClass = field(default_factory=MeanPerClass)
    images: int = 0
    skipped: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Plain]:
        """Both scores in percent and over what."""
        return {
            "mIoU": 100 * self.overlap.compute(),
            "point accuracy": 100 * self.accuracy.compute(),
            "images": self.images,
            **describe_skipped(self.skipped),
        }


def score_points(
    setup: Setup, samples: SampleSet, systems: Sequence[System], segmenter: Segmenter
) -> dict[str, Clicked]:
    """Every label of an image by its name alone: the paper's points, and the segmenter's best candidate.

    A text is alone here, so feature surgery over a set of labels becomes that with the empty string. A map
    that gives no points gives no mask, IoU 0.
    """
    alone = [replace(one, surgery="empty") if one.surgery in NEEDS_TWO else one for one in systems]
    rows = measure_maps(
        setup, samples, alone, "points",
        lambda maker, maps, sample: _row(segmenter, maps, sample), {"segmenter": segmenter.name},
    )  # fmt: skip
    scores = {}
    for name, found in rows.items():
        score = scores[name] = Clicked(skipped=found.skipped())
        for row in found:
            score.images += 1
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
