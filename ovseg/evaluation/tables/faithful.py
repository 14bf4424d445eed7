"""Faithfulness of maps: deletion and insertion, randomised weights, and their reports.

Beyond the paper: a map can score well against masks without reflecting the model, so work on explanation also
reports these.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ovseg.clip.towers import BlockTower, PoolingTower, tower_of
from ovseg.errors import UnsupportedModelError
from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.evaluation.tables.grids import Grids, MapMaker, applicable
from ovseg.evaluation.tables.maps import measure_maps
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.rows import Counted, number, numbers, plain, skip, table
from ovseg.evaluation.tables.run import Run, Samples, Setup
from ovseg.evaluation.tables.systems import System, parse_systems
from ovseg.files.sizes import resize_image
from ovseg.metrics import MeanPerClass, area_under, perturbation_curve, rank_correlation
from ovseg.metrics.faithful import MODES, Picture
from ovseg.model import Model
from ovseg.options import Plain
from ovseg.results import SimilarityMap, figures

STEPS = 20
BATCH = 32
METHODS = ("clip", "clip_surgery")
"""The default systems."""


@dataclass
class Faithful(Counted):
    """The areas under one system's deletion and insertion curves on a set.

    Attributes:
        areas: for "deletion" and "insertion" the mean area under the cosine of the label's text.
    """

    areas: dict[str, MeanPerClass] = field(default_factory=lambda: {mode: MeanPerClass() for mode in MODES})


def score_faithful(
    setup: Setup, samples: SampleSet, systems: Sequence[System], steps: int = STEPS
) -> dict[str, Faithful]:
    """Deletion and insertion for every label of an image, at the encoder's input size.

    Deletion replaces pixels by the picture's mean colour; insertion starts from a blurred picture. The score is
    the cosine of the picture with the label's text.
    """
    rows = measure_maps(
        setup, samples, systems, "faithful",
        lambda maker, maps, sample: _areas(maker, maps, sample, steps), {"steps": steps},
    )  # fmt: skip
    scores = {}
    for name, found in rows.items():
        score = scores[name] = Faithful()
        for row in found.into(score):
            for label, values in table(row).items():
                for mode, value in zip(MODES, numbers(values), strict=True):
                    score.areas[mode].update(label, value)
    return scores


def _areas(maker: MapMaker, maps: Grids, sample: Sample, steps: int) -> Plain:
    image = resize_image(sample.image, maker.size, maker.protocol.resize)
    row: dict[str, Plain] = {}
    for name, grid in maps.items():
        values = SimilarityMap(grid[None], (name,), maker.size)[name]
        text = maker.text[maker.vocabulary.owners.index(maker.vocabulary.names.index(name))]

        @torch.no_grad()
        def scores(pictures: Picture, text: torch.Tensor = text) -> NDArray[np.floating]:
            pixels = maker.model.preprocess(list(pictures), maker.size, maker.protocol.resize)
            token = maker.model.encode_image(pixels, patches=False).class_token
            return np.asarray((nn.functional.normalize(token, dim=-1) @ text).double().cpu().numpy())

        curves = [perturbation_curve(image, values, scores, mode, steps=steps, batch=BATCH) for mode in MODES]
        row[name] = [plain(area_under(curve)) for curve in curves]
    return row


# ------------------------------------------------------------------------------------ random weights


def layers_of(model: Model) -> list[nn.Module]:
    """The blocks of an image tower, or the stages of a ResNet, from the input to the output.

    Raises:
        UnsupportedModelError: another tower.
    """
    tower = tower_of(model.clip.visual)
    if isinstance(tower, BlockTower):
        return list(tower.blocks)
    if isinstance(tower, PoolingTower):
        return [*tower.stages, tower.pool]
    raise UnsupportedModelError(f"expected a tower of blocks or stages to randomise, got {tower.family}")


def stages_of(model: Model) -> dict[int, str]:
    """Number of last layers to randomise -> column title. Raises as ``layers_of``.

    >>> import ovseg
    >>> stages_of(ovseg.load_model("tiny"))
    {1: '1 of 6 layers', 3: '3 of 6 layers', 6: '6 of 6 layers'}
    """
    count = len(layers_of(model))
    return {stage: f"{stage} of {count} layers" for stage in (1, max(1, count // 2), count)}


def randomised(model: Model, count: int, seed: int = 0) -> Model:
    """Copy a model and randomise its last ``count`` layers; its text features are kept.

    Each tensor is drawn from a normal distribution with its original mean and standard deviation.
    """
    loaded = replace(model.loaded, clip=copy.deepcopy(model.loaded.clip))
    other = Model(loaded, model.method)
    other._text = model._text
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers_of(other)[-count:]:
            for weights in layer.parameters():
                noise = torch.randn(weights.shape, generator=generator)
                spread = weights.float().std(correction=0)
                weights.copy_(noise.to(weights.device) * spread + weights.float().mean())
    return other


def score_randomisation(
    setup: Setup, samples: SampleSet, systems: Sequence[System], seed: int = 0
) -> dict[str, tuple[MeanPerClass, Counted]]:
    """Rank correlation of each label's map with the map of a model whose last layers are randomised.

    Stages: one layer, half of the layers, all layers. A correlation near 1 means that the map does not depend on
    what those layers have learned.
    """
    backbone = setup.backbone
    scores = {system.name: (MeanPerClass(), Counted()) for system in systems}
    for stage, title in stages_of(backbone.model).items():
        other = replace(setup, backbone=replace(backbone, model=randomised(backbone.model, stage, seed)))
        makers = MapMaker(setup, systems), MapMaker(other, systems)

        def measure(
            group: Sequence[Sample], wanted: Sequence[System], makers: tuple[MapMaker, MapMaker] = makers
        ) -> dict[str, list[Plain]]:
            before, after = (maker.maps(group, wanted) for maker in makers)
            return {
                name: [_correlations(*pair) for pair in zip(maps, after[name], strict=True)]
                for name, maps in before.items()
            }

        settings: dict[str, Plain] = {"stage": stage, "seed": seed}
        rows = setup.systems_rows(samples, systems, "randomisation", measure, settings)
        for name, found in rows.items():
            score, counted = scores[name]
            for row in found.into(counted):
                for value in table(row).values():
                    score.update(title, number(value))
    return scores


def _correlations(before: Grids | str, after: Grids | str) -> Plain:
    if isinstance(before, str) or isinstance(after, str):
        return skip(before if isinstance(before, str) else str(after))
    row: dict[str, Plain] = {}
    for name, grid in before.items():
        row[name] = plain(rank_correlation(grid, after[name]))
    return row


# ----------------------------------------------------------------------------------------- the reports


def faithful(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Deletion and insertion for every label of an image (Petsiuk et al., BMVC 2018)."""
    report = run.report("faithful", "Deletion and insertion")
    systems = parse_systems(methods or METHODS)

    def score(setup: Setup, samples: SampleSet) -> dict[str, Faithful]:
        return score_faithful(setup, samples, applicable(setup, systems, report)[0])

    for backbone, one, scores in run.measured(report, sets, score):
        for system in systems:
            found = scores.get(system.name)
            areas = {mode: None if found is None else found.areas[mode].compute() for mode in MODES}
            report.add((backbone.name, system.name), areas, head=f"{one.title} ", digits=4)
            if found is not None:
                report.skipped += found.skipped
                report.records.append(
                    {"backbone": backbone.describe(), "method": system.name, "steps": STEPS,
                     "data set": one.items.title, "skipped": len(found.skipped), **areas}
                )  # fmt: skip
    report.note(
        f"The area under the cosine of the picture with the label's text, in {STEPS} steps. "
        "Deletion: lower is better; insertion: higher is better."
    )
    return report


def randomisation(run: Run, sets: Samples, methods: Sequence[str] | None = None) -> Report:
    """Rank correlation of maps before and after randomising the last layers (Adebayo et al., 2018)."""
    report = run.report("randomisation", "Rank correlation after random weights")
    bars: dict[str, dict[str, float]] = {}
    stages: dict[str, None] = {}
    systems = parse_systems(methods or METHODS)

    def score(setup: Setup, samples: SampleSet) -> dict[str, tuple[MeanPerClass, Counted]]:
        return score_randomisation(setup, samples, applicable(setup, systems, report)[0])

    for backbone, one, scores in run.measured(report, sets, score):
        titles = stages_of(backbone.model).values()
        stages |= dict.fromkeys(titles)
        for name in (system.name for system in systems):
            correlations, counted = scores.get(name, (MeanPerClass(), Counted()))
            found = correlations.per_class()
            row = (backbone.name, name)
            report.add(row, {title: found.get(title) for title in titles}, head=f"{one.title}, ", digits=3)
            if name in scores:
                bars[f"{backbone.name} {name}, {one.title}"] = found
                report.skipped += counted.skipped
                report.records.append(
                    {"backbone": backbone.describe(), "method": name, "data set": one.items.title,
                     "correlations": dict(found), "skipped": len(counted.skipped)}
                )  # fmt: skip
    report.note("Near 1: the map does not depend on what those layers have learned.")
    if bars:
        report.pictures[""] = figures.bar_chart(
            {name: [found.get(stage, math.nan) for stage in stages] for name, found in bars.items()},
            list(stages),
            "Rank correlation with the untouched model's map",
        )
    return report
