"""Figs 4, 5 and 6: attention, affinity of modules, and redundancy of maps inside CLIP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.encoder import Trace
from ovseg.clip.towers import BlockTower, tower_of
from ovseg.errors import UnsupportedModelError, UsageError
from ovseg.evaluation.data.samples import Sample, SampleSet
from ovseg.evaluation.tables.grids import MapMaker
from ovseg.evaluation.tables.report import Report
from ovseg.evaluation.tables.rows import Counted, Found, number, numbers, plain, slug, table
from ovseg.evaluation.tables.run import Backbone, Run, Samples, Setup
from ovseg.evaluation.tables.systems import CLIP, SURGERY, System
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.similarity import cosine, to_grid
from ovseg.metrics import (
    ForegroundScore,
    MeanPerClass,
    affinity,
    foreground_share,
    redundancy,
)
from ovseg.options import Plain
from ovseg.results import SimilarityMap, figures

ATTENTION = (System("raw self-attention", CLIP), System("consistent self-attention", SURGERY))
"""Fig. 4: CLIP's attention and CLIP Surgery's, each at the token where its own map is highest."""
MODULES = System("modules", CLIP)
"""Fig. 5: the modules of the untouched model."""
REDUNDANCY = (System("clip", CLIP), System("architecture", SURGERY))
"""Fig. 6: the paper shows the first; the second says how much architecture surgery changes."""


DISTANCES = ("to empty", "to zero")
"""The references of Fig. 6: the map of the empty string, and zero."""
Line: TypeAlias = "tuple[list[float], list[float]]"
"""The x and the y values of a line."""
RowsOf: TypeAlias = "Callable[[MapMaker, System, Tensor, Sequence[Sample]], list[Plain]]"
"""The rows of a group of images for one system, from the group's pixels."""


def _rows_of_systems(
    setup: Setup, samples: SampleSet, systems: Sequence[System], task: str, rows_of: RowsOf
) -> dict[str, Found]:
    """What is measured of each system, by the system's name."""
    maker = MapMaker(setup, systems)

    def measure(group: Sequence[Sample], wanted: Sequence[System]) -> dict[str, list[Plain]]:
        images = [one.image for one in group]
        pixels = maker.model.preprocess(images, maker.size, setup.protocol.resize)
        return {system.name: rows_of(maker, system, pixels, group) for system in wanted}

    return setup.systems_rows(samples, systems, task, measure)


def score_attention(
    setup: Setup, samples: SampleSet, systems: Sequence[System] = ATTENTION
) -> dict[str, tuple[ForegroundScore, list[str]]]:
    """mFSR of each system's attention in the last block, and a line for each image that was left out.

    Of every label in an image, the token where the system's map is highest is looked at: the mean over the
    heads of its attention to all places, without the class token.
    """
    rows = _rows_of_systems(setup, samples, systems, "attention", _attention_rows)
    scores = {}
    for name, found in rows.items():
        score, counted = ForegroundScore(), Counted()
        for row in found.into(counted):
            for label, share in table(row).items():
                score.update(label, number(share))
        scores[name] = (score, counted.skipped)
    return scores


@torch.no_grad()
def _attention_rows(maker: MapMaker, system: System, pixels: Tensor, group: Sequence[Sample]) -> list[Plain]:
    assert system.method is not None
    trace = Trace()
    model = maker.model.with_method(system.method)
    tokens = model.encode_image(pixels, trace=trace)
    own = trace.attention[-1] if system.method.blocks == 0 else trace.new_attention[-1]
    if own is None:
        raise UsageError(f"expected a method with attention in its last block, got {system.name}")
    count = tokens.grid[0] * tokens.grid[1]
    shares = own.float().mean(dim=1)[:, -count:, -count:]  # (B, N, N), without leading tokens
    cosines = cosine(model.place_features(tokens), maker.text)  # (B, N, T)
    rows: list[Plain] = []
    for one, share, sample in zip(cosines, shares, group, strict=True):
        maps = merge_synonyms(to_grid(one[None], tokens.grid)[0], maker.vocabulary.owners).flatten(1)
        row: dict[str, Plain] = {}
        for name, mask in sample.masks.items():
            token = int(maps[maker.vocabulary.names.index(name)].argmax())
            found = foreground_share(
                share[token].reshape(tokens.grid).double().cpu().numpy(), mask, sample.valid
            )
            row[name] = plain(found)
        rows.append(row)
    return rows


# ------------------------------------------------------------------------------------------ affinity

ANSWERS = ("labels in the image", "labels not in the image")
"""The affinity of the model's output: the two lines of Fig. 5."""


def module_names(backbone: Backbone) -> tuple[str, ...]:
    """Every attention and feed-forward network from the first block on, and the model's answer.

    Raises:
        UnsupportedModelError: the tower has no blocks, or its answer is not made of a class token.
    """
    tower = tower_of(backbone.model.clip.visual)
    if not isinstance(tower, BlockTower) or not tower.reads_class_token:
        raise UnsupportedModelError(
            f"expected a transformer with a class token to look into its modules, got {tower.family}"
        )
    modules = [f"{kind} {k}" for k in range(1, len(tower.blocks) + 1) for kind in ("attention", "FFN")]
    return (*modules, *ANSWERS)


def score_affinity(setup: Setup, samples: SampleSet) -> tuple[MeanPerClass, list[str]]:
    """The affinity of each module with the labels of the image, and a line for each image left out.

    What a module adds to the class token goes through the model's last norm and projection, as the class
    token itself does.
    """
    names = module_names(setup.backbone)
    found = _rows_of_systems(setup, samples, [MODULES], "affinity", _affinity_rows)[MODULES.name]
    score, counted = MeanPerClass(), Counted()
    for row in found.into(counted):
        for name, value in zip(names, numbers(row) if row is not None else (), strict=row is not None):
            score.update(name, value)
    return score, counted.skipped


@torch.no_grad()
def _affinity_rows(maker: MapMaker, system: System, pixels: Tensor, group: Sequence[Sample]) -> list[Plain]:
    tower = tower_of(maker.model.clip.visual)
    assert isinstance(tower, BlockTower)
    trace = Trace()
    tokens = maker.model.encode_image(pixels, patches=False, trace=trace)
    parts = [
        part
        for pair in zip(trace.attention_out, trace.ffn_out, strict=True)
        for part in pair  # attention, then the feed-forward network of the same block
    ]
    features = torch.stack([tower.pooled(part[:, :1]).float() for part in parts], dim=1)  # (B, M, D)
    whole = torch.cat([features, tokens.class_token[:, None]], dim=1).double().cpu().numpy()
    text = _class_features(maker)
    rows: list[Plain] = []
    for one, sample in zip(whole, group, strict=True):
        is_in = np.array([name in sample.masks for name in maker.vocabulary.names])
        if not is_in.any():
            rows.append(None)
            continue
        values = [*affinity(one, text[is_in]), *affinity(one[-1:], text[~is_in])]
        rows.append([plain(value) for value in values])
    return rows


def _class_features(maker: MapMaker) -> NDArray[np.float64]:
    """(K, D): the feature of each class, the mean over its texts."""
    owners = torch.tensor(maker.vocabulary.owners, device=maker.text.device)
    rows = [maker.text[owners == k].mean(dim=0) for k in range(len(maker.vocabulary))]
    return np.asarray(F.normalize(torch.stack(rows), dim=-1).double().cpu().numpy())


# ---------------------------------------------------------------------------------------- redundancy


def score_redundancy(
    setup: Setup, samples: SampleSet, systems: Sequence[System] = REDUNDANCY
) -> dict[str, tuple[dict[str, MeanPerClass], list[str]]]:
    """The distance of the labels' maps from the map of the empty string, and from zero.

    All maps are min-max normalised on the token grid.
    """
    rows = _rows_of_systems(setup, samples, systems, "redundancy", _redundancy_rows)
    scores = {}
    for name, found in rows.items():
        distances, counted = {what: MeanPerClass() for what in DISTANCES}, Counted()
        for row in found.into(counted):
            for label, values in table(row).items():
                for what, value in zip(DISTANCES, numbers(values), strict=True):
                    distances[what].update(label, value)
        scores[name] = (distances, counted.skipped)
    return scores


@torch.no_grad()
def _redundancy_rows(maker: MapMaker, system: System, pixels: Tensor, group: Sequence[Sample]) -> list[Plain]:
    assert system.method is not None
    encoded = maker.encode(pixels, system.method)
    grid = encoded[0].grid
    empty = to_grid(cosine(encoded[1], maker.empty), grid).cpu().numpy()  # (B, 1, h, w)
    rows: list[Plain] = []
    for maps, nothing in zip(maker.similarities(encoded, group, system), empty, strict=True):
        without = SimilarityMap(nothing, ("",), grid)[""]
        row: dict[str, Plain] = {}
        for name, values in maps.items():
            distances = redundancy(SimilarityMap(values[None], (name,), grid)[name], without)
            row[name] = [plain(distance) for distance in distances]
        rows.append(row)
    return rows


# ----------------------------------------------------------------------------------------- the reports


def figure4(run: Run, sets: Samples) -> Report:
    """Fig. 4b: the share of attention on the foreground, for raw and consistent self-attention."""
    report = run.report("figure4", "Fig. 4: attention on the foreground")
    lines: dict[str, dict[str, dict[str, Line]]] = {}  # by backbone and attention
    for backbone, one, scores in run.measured(report, sets, score_attention):
        for name, (score, skipped) in scores.items():
            share = 100 * score.compute()
            report.add((backbone.name, name), {f"{one.title} mFSR": share})
            x, y = score.thresholds.tolist(), score.curve().tolist()
            lines.setdefault(backbone.name, {}).setdefault(name, {})[f"{one.title}: {name}"] = (x, y)
            report.skipped += skipped
            report.records.append(
                {"backbone": backbone.describe(), "attention": name, "data set": one.items.title,
                 "mFSR": share, "thresholds": x, "share above": y,
                 "labels in images": sum(score.shares.counts.values()), "skipped": len(skipped)}
            )  # fmt: skip
    report.note("In percent: the share of the last block's attention that lies on the label's mask.")
    for backbone_name, (raw, consistent) in ((name, found.values()) for name, found in lines.items()):
        report.pictures[slug(backbone_name)] = figures.line_chart(
            consistent, f"{backbone_name}: samples with more of the attention on the foreground",
            ("share of the attention on the foreground", "share of samples"), dashed=raw,
        )  # fmt: skip
    return report


def figure5(run: Run, sets: Samples) -> Report:
    """Fig. 5: the cosine of every module's contribution with the image's labels."""
    title = "Fig. 5: affinity of modules with the labels in the image"
    report = run.report("figure5", title, ("backbone", "module"))
    for backbone, one, (score, skipped) in run.measured(report, sets, score_affinity):
        means = score.per_class()
        found = {name: means.get(name, math.nan) for name in module_names(backbone)}
        for module, value in found.items():
            report.add((backbone.name, module), {one.title: value}, digits=4)
        report.skipped += skipped
        report.records.append(
            {"backbone": backbone.describe(), "data set": one.items.title, "affinity": dict(found),
             "skipped": len(skipped)}
        )  # fmt: skip
        marks: dict[str, Line] = {"attention": ([], []), "FFN": ([], [])}
        for name, value in found.items():
            kind, _, block = name.rpartition(" ")
            if kind in marks:
                marks[kind][0].append(int(block))
                marks[kind][1].append(value)
        report.pictures[slug(f"{backbone.name} {one.items.title}")] = figures.line_chart(
            {},
            f"{backbone.name}, {one.title}: cosine with the labels in the image",
            ("block", "cosine"),
            marks,
            {f"answer, {name}": found[name] for name in ANSWERS if not np.isnan(found[name])},
        )
    return report


def figure6(run: Run, sets: Samples) -> Report:
    """Fig. 6: the L1 distance of the labels' maps from the empty string's map and from zero."""
    title = "Fig. 6: labels' maps and the map of the empty string"
    report = run.report("figure6", title)
    bars: dict[str, list[float]] = {"to the empty string's map": [], "to zero": []}
    groups: list[str] = []
    for backbone, one, scores in run.measured(report, sets, score_redundancy):
        for name, (distances, skipped) in scores.items():
            found = {what: mean.compute() for what, mean in distances.items()}
            report.add((backbone.name, name), found, head=f"{one.title}, L1 ", digits=4)
            groups.append(f"{backbone.name} {name}\n{one.title}")
            for column, value in zip(bars.values(), found.values(), strict=True):
                column.append(value)
            report.skipped += skipped
            report.records.append(
                {"backbone": backbone.describe(), "method": name, "data set": one.items.title,
                 **found, "skipped": len(skipped)}
            )  # fmt: skip
    report.note("Mean absolute differences of maps in 0..1, on the token grid.")
    report.pictures[""] = figures.bar_chart(bars, groups, "L1 distance of the labels' maps")
    return report
