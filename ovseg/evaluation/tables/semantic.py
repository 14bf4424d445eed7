"""Table 5, label maps: mIoU of methods and of folders with other systems' predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.clip.towers import check_method
from ovseg.errors import OvsegError, UsageError, one_line
from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.evaluation.tables import paper
from ovseg.evaluation.tables.grids import applicable
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.rows import Counted, Found, numbers, skip
from ovseg.evaluation.tables.run import Run, Samples, Setup
from ovseg.evaluation.tables.systems import System, parse_systems
from ovseg.files.labels import load_labels
from ovseg.maps.similarity import apply_surgery, place_features
from ovseg.metrics import SegmentationScore, confusion
from ovseg.model.engine import classify, stream
from ovseg.options import Plain, SegmentOptions
from ovseg.options.checks import Size
from ovseg.results import void_value
from ovseg.results.base import ImageTokens

INPUT = 512
"""The side of the encoder's input in the paper, in pixels."""


CITYSCAPES_WINDOW = 512


class Segmented(Counted):
    """What one system scores on a set; ``score`` is of all images that counted."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.score = SegmentationScore(classes)

    def describe(self) -> dict[str, Plain]:
        """mIoU in percent, with the image counts."""
        return {"mIoU": 100 * self.score.compute(), **super().describe()}


def score_semantic(
    setup: Setup,
    samples: SampleSet,
    systems: Sequence[System],
    *,
    size: Size | None = INPUT,
    window: Size | None = None,
) -> dict[str, Segmented]:
    """mIoU of the best name at every pixel, at the size of the image, without threshold or post-processing.

    Pixels that belong to none of the set's names do not count. A system with a folder of saved maps takes
    NAME.png of it as label maps: 8 or 16 bits, class k in the order of the set's names.

    Args:
        setup: the model and the texts; of its protocol resize, templates and group, not the size.
        samples: pictures with masks.
        systems: what is compared. Of feature surgery "label_set" changes no label, "label_set_code" does.
        size: the encoder's input, 512 x 512 in the paper; None for the image's own size (Cityscapes).
        window: windows of the input; the paper cuts Cityscapes into windows of 512 without overlap.

    Raises:
        OvsegError: a system does not apply, or the rows cannot be written.
    """
    protocol, backbone = setup.protocol, setup.backbone
    options = SegmentOptions(size=size, window=window, resize=protocol.resize, templates=protocol.templates)
    for system in systems:
        if system.explanation is not None or system.reverse:
            raise UsageError(f"expected a method or a folder of label maps, got {system.name}")
        if system.method is not None:
            check_method(backbone.model.clip.visual, system.method)
    maker = _LabelMaker(setup, options)
    by_name = {system.name: system for system in systems}

    def measure(group: Sequence[Sample], wanted: Sequence[str]) -> dict[str, list[Plain]]:
        return {name: maker.rows(by_name[name], group) for name in wanted}

    units: dict[str, dict[str, Plain]] = {
        system.name: {
            "task": "semantic",
            "backbone": backbone.describe() if system.saved is None else None,
            "texts": setup.texts.describe(),
            "options": options.describe(),
            "system": system.describe(),
        }
        for system in systems
    }
    rows = setup.rows(samples, units, measure)
    return {name: _collect(found, len(samples.names)) for name, found in rows.items()}


class _LabelMaker:
    def __init__(self, setup: Setup, options: SegmentOptions) -> None:
        self.model, self.vocabulary, self.options = setup.backbone.model, setup.texts, options
        self.model.check_window(options)
        self.text = self.model.encode_text(self.vocabulary.flat, options.templates)

    def rows(self, system: System, group: Sequence[Sample]) -> list[Plain]:
        if system.saved is not None:
            return [self._saved_row(system.saved, sample) for sample in group]
        labels = self._labels(system, group)
        return [self._row(found, sample) for found, sample in zip(labels, group, strict=True)]

    @torch.no_grad()
    def _labels(self, system: System, group: Sequence[Sample]) -> Iterator[NDArray[np.integer]]:
        assert system.method is not None
        model = self.model.with_method(system.method)
        # Every other surgery takes one number from all texts of a place, which leaves the best text as it is.
        surgery = system.surgery if system.surgery == "label_set_code" else "none"

        def score(tokens: ImageTokens) -> Tensor:
            features = place_features(tokens, model.method.class_token_weight)
            return apply_surgery(features, tokens.class_token, self.text, surgery, None)

        def pixels() -> Iterator[tuple[tuple[int, int], Tensor]]:
            for sample in group:
                shape = (sample.image.shape[0], sample.image.shape[1])
                size = model.input_size(shape, self.options.size or shape)
                yield shape, model.preprocess([sample.image], size, self.options.resize)[0]

        whole = model.method.whole
        for dense in stream(model.encode_image, model.patch_size, pixels(), score, self.options, whole=whole):
            found, _ = classify(dense.enlarged(whole), dense.key, self.vocabulary, self.options)
            yield found.cpu().numpy()

    def _saved_row(self, folder: Path, sample: Sample) -> Plain:
        try:
            labels = load_labels(folder / f"{sample.name}.png", sample.image.shape)
            return self._row(labels, sample)
        except OvsegError as error:
            return skip(f"{sample.name}: {one_line(error)}")

    def _row(self, labels: NDArray[np.integer], sample: Sample) -> Plain:
        """The non-zero entries of the confusion matrix: [true, predicted, pixels]."""
        names = self.vocabulary.names
        matrix = confusion(labels, truth_of(sample, names), len(names))
        places = np.argwhere(matrix)
        return [[int(t), int(p), int(matrix[t, p])] for t, p in places]


def truth_of(sample: Sample, names: Sequence[str]) -> NDArray[np.int64]:
    """(H, W): each pixel's label index; void for unlabelled and ignored pixels.

    Where masks overlap, as those of COCO's instances do, the later one counts.
    """
    void = void_value(len(names))
    truth = np.full(sample.valid.shape, void, np.int64)
    for name, mask in sample.masks.items():
        truth[mask] = names.index(name)
    truth[~sample.valid] = void
    return truth


def _collect(found: Found, classes: int) -> Segmented:
    segmented = Segmented(classes)
    for row in found.into(segmented):
        assert isinstance(row, list)
        for triple in row:
            true, predicted, count = map(int, numbers(triple))
            segmented.score.matrix[true, predicted] += count
    return segmented


# ------------------------------------------------------------------------------------------ the report


def table5(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Table 5: semantic mIoU; a trained system is NAME=FOLDER with its predictions as label maps.

    The input is 512 x 512 where the run's protocol says nothing else; Cityscapes goes in at its own size, in
    windows of 512 without overlap.
    """
    report = run.report("table5", "Table 5: semantic segmentation")
    systems = parse_systems(methods or ("clip", "maskclip", "clip_surgery:none"))
    for number, backbone in enumerate(run.loaded()):
        wanted = [system for system in systems if system.saved is None or number == 0]
        for one in sets:
            whole = one.kind == "cityscapes"
            with run.setup(backbone, one.items, report.name) as setup:
                scores = score_semantic(
                    setup, one.items, applicable(setup, wanted, report)[0],
                    size=None if whole else run.protocol.size or INPUT,
                    window=CITYSCAPES_WINDOW if whole else None,
                )  # fmt: skip
            for system in wanted:
                score, column = scores.get(system.name), f"{one.title} mIoU"
                known = published(backbone.name, system, one.kind)
                name = "" if system.saved is not None else backbone.name
                value = None if score is None else 100 * score.score.compute()
                report.add((name, system.name), {column: value}, {} if known is None else {column: known})
                if score is None:
                    continue
                report.skipped += [f"{system.name}: {line}" for line in score.skipped]
                report.records.append(
                    {"backbone": name, "weights": backbone.describe() if name else None,
                     "method": system.name, "system": system.describe(), "data set": one.items.title,
                     "texts": setup.texts.describe(), "paper": known, **score.describe()}
                )  # fmt: skip
    report.note(
        "In percent, the best name at every pixel, at the size of the image, without post-processing; pixels "
        "that no name covers do not count."
    )
    return report


def published(backbone: str, system: System, kind: str) -> float | None:
    """The paper's value for a system on a set, or None."""
    if system.saved is None and paper.plain_backbone(backbone) != "ViT-B-16":
        return None
    return paper.TABLE5.get(system.name.partition(":")[0], {}).get(kind)
