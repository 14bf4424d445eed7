"""Maps of systems and their scores: against ``Model.similarity``, literal loops, and saved files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovseg.clip.attention import METHODS
from ovseg.clip.towers import tower_of
from ovseg.errors import UsageError
from ovseg.evaluation.data.samples import Sample
from ovseg.evaluation.tables.grids import MapMaker
from ovseg.evaluation.tables.maps import score_maps
from ovseg.evaluation.tables.protocol import Protocol
from ovseg.evaluation.tables.run import Setup, texts_of
from ovseg.evaluation.tables.systems import (
    System,
    depths,
    list_systems,
    parse_system,
    parse_systems,
    table4,
)
from ovseg.explanation import explain
from ovseg.words.vocabulary import Vocabulary

SYSTEMS = ["clip", "clip_surgery", "clip_surgery:empty", "gem", "segearth", "feature"]


@pytest.fixture(scope="module")
def maker(backbone, texts, protocol):
    return MapMaker(Setup(backbone, texts, protocol, Path()), parse_systems(SYSTEMS))


@pytest.mark.parametrize("name", SYSTEMS)
def test_maps_are_those_of_the_model(model, maker, scenes, protocol, name):
    system = parse_system(name)
    found = maker.maps(list(scenes), [system])[name]
    for sample, maps in zip(scenes, found, strict=True):
        wanted = model.with_method(system.method).similarity(
            sample.image, list(scenes.names), surgery=system.surgery, size=(64, 64), templates="plain"
        )
        assert list(maps) == list(sample.masks) and maps
        for label, grid in maps.items():
            assert np.allclose(grid, wanted.grid[wanted.index(label)], atol=1e-5)


def test_one_encoding_serves_every_surgery(maker, scenes, monkeypatch):
    calls = []
    kind = type(maker.model)
    original = kind.encode_image

    def counted(self, *arguments, **options):
        calls.append(self.method.name)
        return original(self, *arguments, **options)

    monkeypatch.setattr(kind, "encode_image", counted)
    maker.maps(list(scenes), parse_systems(["clip", "rclip", "feature", "clip_surgery", "architecture"]))
    assert calls == ["clip", "clip_surgery"]


def test_the_reversed_map(maker, scenes):
    both = maker.maps(list(scenes), parse_systems(["clip", "rclip"]))
    for one, other in zip(both["clip"], both["rclip"], strict=True):
        assert all((one[name] == -other[name]).all() for name in one)


def test_surgery_over_the_names_of_the_image(setup, model, scenes):
    protocol = Protocol(size=64, templates="plain", surgery_over="image")
    system = parse_system("clip_surgery")
    maker = MapMaker(replace(setup, protocol=protocol), [system])
    single = Sample(
        "one", scenes.load(0).image, {"stripes": np.ones((128, 128), bool)}, np.ones((128, 128), bool)
    )
    nothing = Sample("none", single.image, {}, single.valid)
    found = maker.maps([*scenes, single, nothing], [system])["clip_surgery"]
    for sample, maps in zip([*scenes, single], found, strict=False):
        names = list(sample.masks)
        surgery = "label_set" if len(names) > 1 else "empty"  # of one text nothing would be left
        wanted = model.with_method("clip_surgery").similarity(
            sample.image, names, surgery=surgery, size=(64, 64), templates="plain"
        )
        for name in names:
            assert np.allclose(maps[name], wanted.grid[wanted.index(name)], atol=1e-5)
    assert found[-1] == {}


def test_synonyms_take_the_largest_value(setup, scenes, maker):
    plain = maker.maps(list(scenes), [parse_system("clip")])["clip"]
    rows = tuple((name, "gravel") for name in scenes.names)
    several = MapMaker(replace(setup, texts=Vocabulary(tuple(scenes.names), rows)), [])
    found = several.maps(list(scenes), [parse_system("clip")])["clip"]
    assert several.text.shape[0] == 2 * len(scenes.names)
    for one, other in zip(plain, found, strict=True):
        assert all((other[name] >= one[name] - 1e-6).all() for name in one)


# ------------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize("scored_at", ["image", "input"])
def test_scores_of_a_set_are_those_of_a_loop(setup, model, scenes, scored_at):
    protocol = Protocol(size=64, templates="plain", group=2, scored_at=scored_at)
    setup = replace(setup, protocol=protocol)
    found = score_maps(setup, scenes, [parse_system("clip_surgery")])["clip_surgery"]
    contrasts, overlaps = {}, {}
    for sample in scenes:
        maps = model.with_method("clip_surgery").similarity(
            sample.image, list(scenes.names), surgery="label_set", size=(64, 64), templates="plain"
        )
        for name, mask in sample.masks.items():
            values = maps.at(64 if scored_at == "input" else 128)[maps.index(name)]
            mask = mask[1::2, 1::2] if scored_at == "input" else mask
            contrasts.setdefault(name, []).append(values[mask].mean() - values[~mask].mean())
            rows = [
                ((values >= t) & mask).sum() / ((values >= t) | mask).sum() for t in found.maps.thresholds
            ]
            overlaps.setdefault(name, []).append(rows)
    wanted = np.mean([np.mean(one) for one in contrasts.values()])
    tolerance = 1e-5 if scored_at == "image" else 0.02  # which pixel stands for four is OpenCV's choice
    assert found.maps.mean_contrast() == pytest.approx(wanted, abs=tolerance)
    wanted = np.mean([np.mean(one, axis=0) for one in overlaps.values()], axis=0).max()
    assert found.maps.mean_iou() == pytest.approx(wanted, abs=1e-3 if scored_at == "image" else 0.03)
    record = found.describe()
    assert record["images"] == 3 and record["skipped"] == 0 and record["labels in images"] >= 6
    assert set(record["mIoU by threshold"]) == {"dataset", "class", "image"}


def test_saved_maps_are_a_row_and_odd_files_are_counted(setup, scenes, maker, tmp_path):
    folder = tmp_path / "eclip"
    folder.mkdir()
    for index in (0, 1):
        sample = scenes.load(index)
        names = list(sample.masks)
        values = np.stack([maker.maps([sample], [parse_system("clip")])["clip"][0][name] for name in names])
        np.savez(folder / f"{index}.npz", grid_values=values, names=names)
    systems = parse_systems([f"eclip={folder}", "clip"])
    np.savez(folder / "0.npz", grid_values=values[:1], names=["sky"])
    found = score_maps(setup, scenes, systems)["eclip"]
    assert found.images == 1 and len(found.skipped) == 2
    assert "lacks" in found.skipped[0] and "no file" in found.skipped[1]
    alone = score_maps(setup, scenes, systems)["clip"]
    assert alone.images == 3
    (folder / "1.npz").write_bytes(b"no zip")
    again = score_maps(replace(setup, folder=tmp_path / "rows2"), scenes, systems[:1])["eclip"]
    assert len(again.skipped) == 3 and "cannot be read" in again.skipped[1]


@pytest.mark.parametrize("name", ["bimodal", "gradcam_cls"])
def test_explanations_are_rows(setup, model, scenes, name):
    maker = MapMaker(setup, parse_systems([name]))
    (found,) = maker.maps(list(scenes.first(1)), parse_systems([name]))[name]
    sample = scenes.load(0)
    wanted = explain(model, sample.image, list(sample.masks), name, size=64, templates="plain")
    assert all(np.allclose(found[label], wanted.grid[k]) for k, label in enumerate(wanted.names))


def test_memory_of_a_run_does_not_grow(setup, scenes):
    """What a score holds after three images is what it holds after one: sums of each class."""
    score = score_maps(setup, scenes, [parse_system("clip")])["clip"]
    assert sum(total.nbytes for total in score.maps.overlap.values()) == 49 * 8 * len(score.maps.overlap)


def test_without_a_size_maps_take_the_models_and_the_class_token_the_towers(setup):
    default = Protocol(templates="plain")
    setups = [replace(setup, protocol=one) for one in (default, setup.protocol)]
    assert [(one.size, one.recognition_size) for one in setups] == [((160, 160), (64, 64)), ((64, 64),) * 2]
    assert [one.unit("maps", parse_system("clip"))["input"] for one in setups] == [[160, 160], [64, 64]]


# ------------------------------------------------------------------------------------------ systems


def test_the_ablation_table(backbone):
    tower = tower_of(backbone.model.clip.visual)
    rows = {one.name: one.method for one in table4(tower)}
    assert [(m.blocks, m.paths, m.attention, m.ffn) for m in rows.values()] == [
        (1, 1, True, True), (6, 1, True, True), (6, 2, True, True), (6, 2, False, True), (6, 2, True, False),
    ]  # fmt: skip
    assert [one.method.blocks for one in depths(tower)] == [6, 5, 4, 3, 2, 1]


def test_without_attention_the_feed_forward_networks_alone_are_left(backbone, scenes):
    """The new path of Table 4's fourth row, written out."""
    import torch

    row = next(one for one in table4(tower_of(backbone.model.clip.visual)) if one.name.endswith("paths, FFN"))
    model = backbone.model
    pixels = model.preprocess([scenes.load(0).image], (64, 64))
    tower = tower_of(model.clip.visual)
    with torch.no_grad():
        found = model.with_method(row.method).encode_image(pixels)
        x, _ = tower.embed(pixels, row.method.resize)
        for block in tower.blocks:  # all six are changed, so the new path begins with the embedding
            x = x + tower.feed_forward(block, x)
        assert torch.allclose(found.patches, tower.places(x[:, 1:]), atol=1e-5)
        untouched = model.encode_image(pixels).class_token
    assert torch.allclose(found.class_token, untouched, atol=1e-5)


def test_names_of_systems():
    assert set(METHODS) < set(list_systems()) and {"rclip", "architecture", "feature"} < set(list_systems())
    assert parse_system("clip_surgery:none") == System("clip_surgery:none", METHODS["clip_surgery"])
    assert parse_system("clip:label_set").surgery == "label_set"


@pytest.mark.parametrize(
    "names, message",
    [
        (["vibes"], "unknown method 'vibes'"),
        (["clip:vibes"], "unknown surgery 'vibes'"),
        (["eclip=/no/such/folder"], "expected NAME=FOLDER"),
        (["clip", "clip"], "expected 'clip' once"),
        ([], "at least one method"),
    ],
)
def test_wrong_systems_are_misuse(names, message):
    with pytest.raises(UsageError, match=message):
        parse_systems(names)


def test_what_does_not_apply_is_said_at_once(setup):
    with pytest.raises(UsageError, match="at least two names"):
        MapMaker(replace(setup, texts=texts_of(["sky"])), parse_systems(["clip_surgery"]))
    with pytest.raises(UsageError, match="it lacks tree"):
        texts_of(["sky", "tree"], Vocabulary(("sky",), (("sky",),)))
    with pytest.raises(UsageError, match="at least one name"):
        texts_of([])
    with pytest.raises(UsageError, match="unknown scored_at"):
        Protocol(scored_at="nowhere")
