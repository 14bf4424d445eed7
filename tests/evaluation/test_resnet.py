"""A ResNet as a backbone: what applies to it is measured, and what does not is said."""

from __future__ import annotations

import math

import pytest
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer

from ovseg.clip.attention import METHODS
from ovseg.clip.loaded import LoadedClip
from ovseg.evaluation.tables.protocol import Protocol, Wanted
from ovseg.evaluation.tables.publish import run_experiment
from ovseg.evaluation.tables.run import Backbone, Named, Run
from ovseg.model import Model

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(3)
    vision = {"layers": (1, 1, 1, 1), "width": 8, "head_width": 64, "image_size": 64}
    clip = CLIP(24, vision, TEXT).eval().requires_grad_(False)
    for weights in clip.visual.attnpool.parameters():
        weights.normal_(0, 0.2)
    loaded = LoadedClip(clip, SimpleTokenizer(), "RN50", (0.5,) * 3, (0.5,) * 3, 64)
    return Backbone.of("RN50", Model(loaded, METHODS["clip"]))


@pytest.fixture
def run(resnet, tmp_path):
    wanted = Wanted("RN50", "random")
    made = Run([wanted], tmp_path, Protocol(templates="plain"))
    made._kept[wanted] = resnet
    return made


def cells(report, column):
    return {cell.row[1]: cell for cell in report.cells if cell.column.endswith(column)}


def test_explanations_that_do_not_apply_have_a_dash_and_a_reason(run, scenes):
    sets = [Named("voc2012", scenes.first(1)), Named("scenes", scenes.first(1))]
    report = run_experiment("table2", run, sets, ["clip", "gradcam", "plrp", "bimodal", "clip_surgery"])
    reasons = [note.partition(": ")[0] for note in report.notes if "expected an image tower with" in note]
    assert reasons == ["RN50, plrp", "RN50, bimodal"]  # once, whatever the number of sets
    found = cells(report, "2012 mSC")
    assert [name for name, cell in found.items() if cell.value is None] == ["plrp", "bimodal"]
    assert str(found["plrp"]) == "–" and str(found["clip_surgery"]).endswith("(44.60)")


@pytest.mark.parametrize("name", ["table1", "figure4", "figure6", "randomisation", "table5"])
def test_what_applies_is_measured(run, scenes, name):
    methods = ["clip", "clip_surgery:none"] if name == "table5" else None
    report = run_experiment(name, run, [Named("scenes", scenes.first(1))], methods)
    assert report.cells and all(cell.value is not None for cell in report.cells)
    assert not report.skipped


@pytest.mark.parametrize("name", ["faithful", "randomisation"])
def test_rows_beyond_the_paper_have_a_reason_too(run, scenes, name):
    report = run_experiment(name, run, [Named("scenes", scenes.first(1))], ["clip", "bimodal"])
    assert any(note.startswith("RN50, bimodal: expected an image tower") for note in report.notes)
    values = {cell.row[1]: cell.value for cell in report.cells}
    assert values["bimodal"] is None and values["clip"] is not None


def test_layers_of_two_backbones_are_not_mixed_in_the_picture(run, backbone, scenes, monkeypatch):
    drawn = []
    monkeypatch.setattr("ovseg.results.figures.bar_chart", lambda *words: drawn.append(words))
    run._kept[Wanted("tiny")] = backbone
    monkeypatch.setattr(Run, "loaded", lambda self: iter(self._kept.values()))
    run_experiment("randomisation", run, [Named("scenes", scenes.first(1))], ["clip"])
    ((bars, stages, _),) = drawn
    assert stages == [f"{k} of 5 layers" for k in (1, 2, 5)] + [f"{k} of 6 layers" for k in (1, 3, 6)]
    there = [[not math.isnan(value) for value in values] for values in bars.values()]
    assert there == [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3]


@pytest.mark.parametrize("name", ["table4", "depth", "figure5"])
def test_what_needs_blocks_says_so(run, scenes, name):
    sets = [Named("scenes", scenes.first(1)), Named("scenes", scenes.first(2))]
    report = run_experiment(name, run, sets, None)
    assert report.cells == [] and sum(note.startswith("RN50: expected a") for note in report.notes) == 1
    report.write(run.out)


def test_one_name_with_two_weights_is_two_rows(run, resnet, scenes, monkeypatch):
    monkeypatch.setattr(
        "ovseg.evaluation.tables.run.load_clip", lambda *words, **options: resnet.model.loaded
    )
    run.backbones = [Wanted("RN50", "one"), Wanted("RN50", "other")]
    report = run_experiment("figure4", run, [Named("scenes", scenes.first(1))], None)
    assert [cell.row[0] for cell in report.cells] == ["RN50=one"] * 2 + ["RN50=other"] * 2
    assert list(report.pictures) == ["RN50-one", "RN50-other"]
