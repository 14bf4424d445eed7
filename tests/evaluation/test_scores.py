"""Multi-label scores, label maps and points of the tables against the API and against files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

import ovseg
from ovseg.errors import DataError, UsageError
from ovseg.evaluation.data.tags import tags_of
from ovseg.evaluation.tables.ablation import score_points
from ovseg.evaluation.tables.protocol import RULES
from ovseg.evaluation.tables.recognition import (
    ScoreFile,
    apply_rule,
    read_scores,
    score_file,
    score_tags,
)
from ovseg.evaluation.tables.run import texts_of
from ovseg.evaluation.tables.semantic import score_semantic, truth_of
from ovseg.evaluation.tables.systems import TABLE3, parse_systems
from ovseg.metrics import SegmentationScore, mask_iou


@pytest.fixture(scope="module")
def tags(scenes):
    return tags_of(scenes)


# ------------------------------------------------------------------------------------- multi-label


@pytest.mark.parametrize("rule", RULES)
def test_rules_are_those_of_recognize(setup, model, tags, rule):
    found = score_tags(setup, tags, rules=[rule])[rule]
    softmax = RULES[rule] == "softmax"
    choices = {"scores": "softmax"} if softmax else {"surgery": RULES[rule]}
    names = list(tags.names)
    scores = np.stack(
        [
            model.recognize(one.image, names, size=(64, 64), templates="plain", **choices).scores
            for one in tags
        ]
    )
    assert np.allclose(found.score._scores[:3], scores, atol=1e-5)
    truth = np.stack([one.truth for one in tags])
    each = [
        average_precision_score(truth[:, k], scores[:, k]) for k in range(len(names)) if truth[:, k].any()
    ]
    assert found.score.compute() == pytest.approx(np.mean(each), abs=1e-6)
    assert found.describe()["images"] == 3


def test_each_nth_picture_keeps_its_labels(scenes, tags):
    thin = tags.every(2)
    assert thin.items == ["0", "2"] and [one.name for one in thin] == ["0", "2"]
    assert [thin.truth(k).tolist() for k in range(2)] == [tags.truth(k).tolist() for k in (0, 2)]
    assert [thin.digest(k) for k in range(2)] == [tags.digest(k) for k in (0, 2)]
    assert scenes.every(2).first(1).items == ["0"] and len(scenes.every(9)) == 1
    with pytest.raises(UsageError, match="expected every"):
        scenes.every(0)


def test_one_encoding_serves_every_rule(setup, backbone, tags, monkeypatch):
    calls = []
    kind = type(backbone.model)
    original = kind.encode_image

    def counted(self, *arguments, **options):
        calls.append(options)
        return original(self, *arguments, **options)

    monkeypatch.setattr(kind, "encode_image", counted)
    score_tags(setup, tags, rules=list(RULES))
    assert calls == [{"patches": False}] * 2  # two groups; the class token alone
    score_tags(setup, tags, rules=["cosine"])
    assert len(calls) == 2


def test_surgery_written_out():
    cosines = np.array([0.31, 0.18, 0.25])
    s = np.exp(2 * cosines) / np.exp(2 * cosines).sum()
    w = s / s.mean()
    assert apply_rule(cosines, "label_set") == pytest.approx(cosines - (w * cosines).mean(), abs=1e-6)
    assert apply_rule(cosines, "label_set_code") == pytest.approx(
        w * cosines - (w * cosines).mean(), abs=1e-6
    )
    assert apply_rule(cosines, "softmax", logit_scale=10.0).sum() == pytest.approx(1)
    for rule in ("vibes", "empty"):
        with pytest.raises(UsageError, match="rule"):
            apply_rule(cosines, rule)


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_another_models_file_and_surgery_on_top(tags, tmp_path, kind):
    rng = np.random.default_rng(0)
    names, images = [*tags.names[::-1], "more"], ["folder/2.jpg", "0", "1.png"]  # another order, other forms
    scores = rng.random((3, len(names))).astype(np.float32)
    path = tmp_path / f"scores.{kind}"
    if kind == "npz":
        np.savez(path, scores=scores, images=np.array(images), names=np.array(names))
    else:
        rows = [[image, *map(repr, row.tolist())] for image, row in zip(images, scores)]
        path.write_text("\n".join(",".join(row) for row in [["image", *names], *rows]))
    given = read_scores(path)
    order = [names.index(name) for name in tags.names]
    found = score_file(given, tags)
    assert np.allclose(found.score._scores[:3], scores[[1, 2, 0]][:, order])
    top = score_file(given, tags, "label_set", scale=2.0)
    wanted = [apply_rule(row / 2, "label_set") for row in scores[[1, 2, 0]][:, order]]
    assert np.allclose(top.score._scores[:3], wanted) and top.skipped == []
    fewer = score_file(ScoreFile(given.names, {"1": given.rows["1.png"]}), tags)
    assert fewer.skipped == ["0: the file has no scores for it", "2: the file has no scores for it"]
    alike = ScoreFile(given.names, {"a/1": scores[0], "b/1": scores[1], "0": scores[2]})
    assert len(score_file(alike, tags).score) == 1  # two images that end alike are not guessed at


@pytest.mark.parametrize(
    "content, error, message",
    [
        (None, UsageError, "does not exist"),
        ("image,a\n1,x\n", DataError, "cannot be read"),
        ("picture,a\n1,2\n", DataError, "expected 'image' and the names"),
        ("image,a\n1,2\n1,3\n", DataError, "each image once"),
        ("image,a\n1,nan\n", DataError, "finite scores"),
        ("image,a\n1,2,3\n", DataError, "expected"),
        ("", DataError, "cannot be read"),
    ],
)
def test_odd_files_of_scores_are_one_line(tags, tmp_path, content, error, message):
    path = tmp_path / "scores.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message) as caught:
        read_scores(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="as .npz or .csv"):
        read_scores(Image.new("L", (1, 1)).save(tmp_path / "a.png") or tmp_path / "a.png")
    with pytest.raises(DataError, match="missing: stripes"):
        score_file(ScoreFile(("sky",), {}), tags)


def test_misuse_of_rules(setup, tags):
    with pytest.raises(UsageError, match="unknown method 'vibes'"):
        score_tags(setup, tags, rules=["vibes"])
    with pytest.raises(UsageError, match="at least two names"):
        score_tags(replace(setup, texts=texts_of(["sky"])), tags)


# --------------------------------------------------------------------------------------- label maps


def test_label_maps_are_those_of_segment(setup, model, scenes):
    names = list(scenes.names)
    systems = parse_systems(["clip", "clip_surgery"])
    found = score_semantic(setup, scenes, systems, size=64)
    for system in systems:
        score = SegmentationScore(len(names))
        for sample in scenes:
            labels = model.with_method(system.name).segment(
                sample.image, names, size=(64, 64), templates="plain"
            )
            score.update(labels.array, truth_of(sample, names))
        assert found[system.name].score.compute() == pytest.approx(score.compute(), abs=1e-3)
        assert found[system.name].images == 3


def test_feature_surgery_changes_label_maps_in_the_codes_form_alone(setup, scenes):
    systems = parse_systems(["clip_surgery:none", "clip_surgery", "clip_surgery:label_set_code"])
    found = score_semantic(setup, scenes, systems, size=64)
    plain, paper, code = (one.score.matrix for one in found.values())
    assert (plain == paper).all() and (plain != code).any()


def test_windows_without_overlap(setup, model, scenes):
    names = list(scenes.names)
    found = score_semantic(
        setup, scenes.first(1), parse_systems(["clip_surgery:none"]), size=None, window=64
    )["clip_surgery:none"]
    sample = scenes.load(0)
    labels = model.with_method("clip_surgery").segment(
        sample.image, names, size=(128, 128), window=64, templates="plain"
    )
    score = SegmentationScore(len(names))
    score.update(labels.array, truth_of(sample, names))
    assert (found.score.matrix == score.matrix).all()


def test_a_folder_of_predictions_is_scored_by_the_same_metric(setup, scenes, tmp_path):
    folder = tmp_path / "reco"
    folder.mkdir()
    names = list(scenes.names)
    truths = [truth_of(sample, names) for sample in scenes]
    Image.fromarray(truths[0].astype(np.uint8)).save(folder / "0.png")
    wrong = np.where(truths[1] == truths[1][0, 0], 41, truths[1])
    Image.fromarray(wrong.astype(np.uint8)).save(folder / "1.png")
    systems = parse_systems([f"ReCo={folder}"])
    found = score_semantic(setup, scenes, systems)["ReCo"]
    score = SegmentationScore(len(names))
    score.update(truths[0], truths[0])
    score.update(wrong, truths[1])
    assert (found.score.matrix == score.matrix).all() and 0 < found.score.compute() < 1
    assert found.images == 2 and "2.png does not exist" in found.skipped[0]
    Image.fromarray(truths[2][:5].astype(np.uint8)).save(folder / "2.png")
    again = replace(setup, folder=tmp_path / "rows2")
    found = score_semantic(again, scenes, systems)["ReCo"]
    assert len(found.skipped) == 1 and "expected labels of (128, 128)" in found.skipped[0]
    with pytest.raises(UsageError, match="expected a method or a folder of label maps, got rclip"):
        score_semantic(setup, scenes, parse_systems(["rclip"]))


# -------------------------------------------------------------------------------------- interactive


def test_points_of_the_paper_and_the_best_candidate(setup, model, scenes):
    one, segmenter = scenes.first(1), ovseg.load_segmenter("tiny")
    found = score_points(setup, one, TABLE3, segmenter)
    t2m = ovseg.TextToMask(
        model.with_method("clip_surgery"), segmenter, point_rule="paper", prompt_with="points", mask_choice="score",
        clean=0, presence_threshold=0, size=64, templates="plain",
    )  # fmt: skip
    sample = one.load(0)
    overlaps = [mask_iou(t2m.predict(sample.image, name).union, mask) for name, mask in sample.masks.items()]
    assert found["architecture and feature"].overlap.compute() == pytest.approx(np.mean(overlaps), abs=0.02)
    assert all(0 <= score.accuracy.compute() <= 1 for score in found.values())
    assert json.dumps(found["original"].describe())
