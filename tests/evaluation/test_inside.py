"""Attention, affinity, redundancy, deletion and random weights: each against the steps written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovseg.clip.encoder import Trace
from ovseg.clip.towers import tower_of
from ovseg.errors import UnsupportedModelError
from ovseg.evaluation.tables.faithful import (
    BATCH,
    layers_of,
    randomised,
    score_faithful,
    score_randomisation,
)
from ovseg.evaluation.tables.inside import module_names, score_affinity, score_attention, score_redundancy
from ovseg.evaluation.tables.systems import parse_systems
from ovseg.metrics import rank_correlation


@pytest.fixture(scope="module")
def encoded(backbone, scenes, protocol):
    """Per scene: its pixels, and the tokens and trace of CLIP and of CLIP Surgery, one image at a time."""
    found = []
    for sample in scenes:
        pixels = backbone.model.preprocess([sample.image], (64, 64))
        row = {}
        for name in ("clip", "clip_surgery"):
            trace = Trace()
            with torch.no_grad():
                row[name] = backbone.model.with_method(name).encode_image(pixels, trace=trace), trace
        found.append((sample, row))
    return found


def cell_mean(mask, y, x):
    """The share of a token's 16 x 16 pixels of a 128 x 128 scene that a mask covers."""
    return mask[16 * y : 16 * y + 16, 16 * x : 16 * x + 16].mean()


def test_attention_on_the_foreground(setup, backbone, scenes, encoded):
    found = score_attention(setup, scenes)
    text = backbone.model.encode_text(list(scenes.names), "plain")
    for name, (method, attention) in {
        "raw self-attention": ("clip", "attention"),
        "consistent self-attention": ("clip_surgery", "new_attention"),
    }.items():
        per_class = {}
        for sample, row in encoded:
            tokens, trace = row[method]
            weights = getattr(trace, attention)[-1][0].mean(dim=0)  # (1+N, 1+N)
            for label, mask in sample.masks.items():
                map_ = F.normalize(tokens.patches[0], dim=-1) @ text[scenes.names.index(label)]
                line = weights[1 + int(map_.argmax()), 1:].reshape(8, 8)
                on = sum(float(line[y, x]) * cell_mean(mask, y, x) for y in range(8) for x in range(8))
                per_class.setdefault(label, []).append(on / float(line.sum()))
        score, skipped = found[name]
        assert len(per_class) > 2
        assert score.compute() == pytest.approx(np.mean([np.mean(v) for v in per_class.values()]), abs=1e-5)
        assert skipped == [] and score.curve()[0] > 0.5


def test_affinity_of_every_module(setup, backbone, scenes, encoded):
    score, skipped = score_affinity(setup, scenes)
    tower = tower_of(backbone.model.clip.visual)
    text = backbone.model.encode_text(list(scenes.names), "plain").double()
    wanted = {name: [] for name in module_names(backbone)}
    for sample, row in encoded:
        tokens, trace = row["clip"]
        is_in = [name in sample.masks for name in scenes.names]
        for block in range(len(tower.blocks)):
            for kind, outs in (("attention", trace.attention_out), ("FFN", trace.ffn_out)):
                with torch.no_grad():
                    feature = F.normalize(tower.pooled(outs[block][:, :1])[0].double(), dim=-1)
                cosines = [float(feature @ one) for one, there in zip(text, is_in) if there]
                wanted[f"{kind} {block + 1}"].append(sum(cosines) / len(cosines))
        answer = F.normalize(tokens.class_token[0].double(), dim=-1)
        for name, there in (("labels in the image", True), ("labels not in the image", False)):
            wanted[name].append(np.mean([float(answer @ t) for t, i in zip(text, is_in) if i == there]))
    assert set(score.counts) == set(wanted)
    for name, value in score.per_class().items():
        assert value == pytest.approx(np.mean(wanted[name]), abs=1e-5), name
    assert skipped == []


def test_redundancy_against_the_empty_string(setup, backbone, scenes, encoded):
    found = score_redundancy(setup, scenes)
    text = backbone.model.encode_text([*scenes.names, ""], "plain")

    def unit(values):
        return (values - values.min()) / (values.max() - values.min())

    for name, method in (("clip", "clip"), ("architecture", "clip_surgery")):
        near, far = {}, {}
        for sample, row in encoded:
            features = F.normalize(row[method][0].patches[0], dim=-1)
            empty = unit(features @ text[-1])
            for label in sample.masks:
                values = unit(features @ text[scenes.names.index(label)])
                near.setdefault(label, []).append(float((values - empty).abs().mean()))
                far.setdefault(label, []).append(float(values.abs().mean()))
        means = [np.mean([np.mean(v) for v in one.values()]) for one in (near, far)]
        assert [mean.compute() for mean in found[name][0].values()] == pytest.approx(means, abs=1e-5)


def test_a_resnet_has_attention_but_no_modules(monkeypatch, backbone):
    monkeypatch.setattr(
        "ovseg.evaluation.tables.inside.tower_of", lambda visual: type("T", (), {"family": "a ResNet"})()
    )
    with pytest.raises(UnsupportedModelError, match="expected a transformer with a class token.*a ResNet"):
        module_names(backbone)


# ------------------------------------------------------------------------------------------ faithful


def test_deletion_and_insertion_are_batched_and_reproducible(setup, backbone, scenes, monkeypatch):
    calls = []
    kind = type(backbone.model)
    original = kind.encode_image

    def counted(self, pixels, **options):
        if options.get("patches") is False:
            calls.append(len(pixels))
        return original(self, pixels, **options)

    monkeypatch.setattr(kind, "encode_image", counted)
    one = scenes.first(1)
    found = score_faithful(setup, one, parse_systems(["clip_surgery"]))
    labels = len(one.load(0).masks)
    assert calls == [21] * 2 * labels and BATCH >= 21  # one batch for each curve
    areas = {mode: mean.compute() for mode, mean in found["clip_surgery"].areas.items()}
    again = score_faithful(setup, one, parse_systems(["clip_surgery"]))
    assert areas == {mode: mean.compute() for mode, mean in again["clip_surgery"].areas.items()}
    assert len(calls) == 2 * labels and set(areas) == {"deletion", "insertion"}


def test_random_weights_reach_the_last_layers_alone(backbone):
    model = backbone.model
    before = {name: value.clone() for name, value in model.clip.state_dict().items()}
    other = randomised(model, 2)
    changed = {
        name for name, value in other.clip.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed and all(".resblocks.4." in name or ".resblocks.5." in name for name in changed)
    assert all(torch.equal(value, before[name]) for name, value in model.clip.state_dict().items())
    assert torch.equal(other.encode_text(["sky"], "plain"), model.encode_text(["sky"], "plain"))
    same = randomised(model, 2).clip.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in other.clip.state_dict().items())
    assert len(layers_of(model)) == 6


def test_rank_correlations_after_random_weights(setup, backbone, model, scenes):
    one = scenes.first(1)
    systems = parse_systems(["clip_surgery:empty"])
    score, counted = score_randomisation(setup, one, systems)["clip_surgery:empty"]
    assert counted.skipped == [] and list(score.per_class()) == [
        "1 of 6 layers",
        "3 of 6 layers",
        "6 of 6 layers",
    ]
    sample = one.load(0)
    names = list(sample.masks)
    maps = [
        each.with_method("clip_surgery").similarity(sample.image, names, size=64, templates="plain").grid
        for each in (model, randomised(backbone.model, 3))
    ]
    wanted = np.mean([rank_correlation(a, b) for a, b in zip(*maps)])
    assert score.per_class()["3 of 6 layers"] == pytest.approx(wanted, abs=1e-3)
