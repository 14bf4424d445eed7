"""ovseg segment: labels, a picture of them, arrays and a record."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from ovseg.apps.cli.segment import VIEW
from ovseg.clip.embedded import asset_path
from ovseg.evaluation.data.scenes import make_scene
from ovseg.words.vocabulary import as_vocabulary

PLAIN = ("--templates", "plain")


def test_segment_writes_what_it_says(run, read, picture, tmp_path, names_in):
    out = tmp_path / "out"
    done = run(
        "segment", picture, "bricks, waves", "--out", out, "--npz", "--json", "--probabilities", *PLAIN
    )
    assert done.exit_code == 0, done.output
    assert done.stdout == f"1 of 1 images, results in {out}\n" and not done.errors
    assert names_in(out) == ["a.labels.json", "a.labels.npz", "a.labels.png", "a.overlay.png"]
    labels, arrays = read(out / "a.labels.png"), read(out / "a.labels.npz")
    assert labels.shape == (64, 80) and np.array_equal(labels, arrays["labels"])
    assert arrays["probabilities"].shape == (2, 64, 80)


def test_the_record_says_what_was_done_to_what_with_what(run, read, picture, tmp_path):
    out = tmp_path / "out"
    run(
        "segment",
        picture,
        "bricks, waves",
        "--out",
        out,
        "--json",
        "--background-threshold",
        "0.6",
        "--window",
        "16x24",
    )
    record = read(out / "a.labels.json")
    assert record["image"] == str(picture) and record["size"] == [64, 80]
    assert record["outputs"] == ["a.labels.png", "a.overlay.png"]
    assert record["names"] == ["bricks", "waves"] and 0 < sum(record["shares"].values()) <= 1
    assert record["options"]["background_threshold"] == 0.6 and record["options"]["window"] == [16, 24]
    assert record["model"]["name"] == "tiny" and record["model"]["method"] == "clip_surgery"
    assert record["model"]["weights"]["sha256"] == hashlib.sha256(asset_path("tiny").read_bytes()).hexdigest()
    assert record["vocabulary"]["digest"] == as_vocabulary("bricks, waves").digest()


def test_background_auto_is_recorded_name_by_name(run, read, picture, tmp_path):
    run(
        "segment",
        picture,
        "bricks, grass",
        "--background",
        "auto",
        "--templates",
        "plain",
        "--out",
        tmp_path,
        "--json",
    )
    record = read(tmp_path / "a.labels.json")
    words = record["vocabulary"]["texts"][0]
    assert record["names"] == ["background", "bricks", "grass"] == record["vocabulary"]["names"]
    assert record["options"]["background"] == "auto"
    assert "sky" in words and "grass" not in words and len(words) > 50


def test_every_option_of_the_model_is_reachable(run, read, picture, tmp_path):
    options = {
        "size": "32x48", "window": "16", "stride": "8x16", "batch": "3", "resize": "pillow",
        "logit_scale": "40", "background": "wall, floor", "background_threshold": "0.2",
        "area_threshold": "0.1", "synonyms": "cosine",
        "edges": "guided", "templates": "a photo of {}",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    done = run("segment", picture, "bricks", "--out", tmp_path / "o", "--json", *words)
    assert done.exit_code == 0, done.output
    assert read(tmp_path / "o" / "a.labels.json")["options"] == {
        "size": [32, 48], "window": 16, "stride": [8, 16], "batch": 3, "resize": "pillow",
        "logit_scale": 40.0, "background": ["wall", "floor"], "background_threshold": 0.2,
        "area_threshold": 0.1, "synonyms": "cosine",
        "edges": "guided", "templates": "a photo of {}",
    }  # fmt: skip


def test_the_answer_is_the_model_s(run, read, picture, tmp_path, model):
    words = (
        "--size",
        "64x96",
        "--window",
        "32",
        "--stride",
        "16",
        "--logit-scale",
        "20",
        "--background-threshold",
        "0.7",
    )
    assert run("segment", picture, "bricks, waves, gravel", "--out", tmp_path, *words).exit_code == 0
    expected = model.segment(
        picture,
        "bricks, waves, gravel",
        size=(64, 96),
        window=32,
        stride=16,
        logit_scale=20,
        background_threshold=0.7,
    )
    assert np.array_equal(read(tmp_path / "a.labels.png"), expected.array)


@pytest.mark.parametrize("given", ["voc21", "file"])
def test_a_vocabulary_stands_in_place_of_names(run, read, picture, tmp_path, given, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "names.txt").write_text("background: sky, wall\nbricks\n")
    given = "~/names.txt" if given == "file" else given
    done = run("segment", picture, "--vocabulary", given, "--out", tmp_path / "o", "--json", *PLAIN)
    assert done.exit_code == 0, done.output
    names = read(tmp_path / "o" / "a.labels.json")["names"]
    assert len(names) == (2 if "names" in given else 21) and names[0] == "background"


def test_templates_may_be_several(run, read, picture, tmp_path):
    words = ("--templates", "a {}", "--templates", "the {}")
    assert run("segment", picture, "bricks", "--out", tmp_path, "--json", *words).exit_code == 0
    assert read(tmp_path / "a.labels.json")["options"]["templates"] == ["a {}", "the {}"]


def test_more_than_255_classes_are_16_bits(run, read, picture, tmp_path):
    names = ", ".join(f"word {number}" for number in range(300))
    assert run("segment", picture, names, "--out", tmp_path, "--json", *PLAIN).exit_code == 0
    assert read(tmp_path / "a.labels.json")["void"] == 65535
    assert read(tmp_path / "a.labels.png").dtype.itemsize > 1


def test_the_overlay_of_a_large_image_is_for_viewing(run, read, tmp_path):
    Image.fromarray(make_scene(1, (40, 3000)).image).save(tmp_path / "wide.png")
    assert (
        run("segment", tmp_path / "wide.png", "bricks", "--out", tmp_path, "--size", "16", *PLAIN).exit_code
        == 0
    )
    assert read(tmp_path / "wide.labels.png").shape == (40, 3000)
    assert read(tmp_path / "wide.overlay.png").shape[1] == VIEW


def test_results_in_the_photo_folder_are_no_inputs_later(run, picture, tmp_path):
    for _ in range(3):
        done = run("segment", tmp_path, "bricks, waves", "--out", tmp_path, "--npz", "--json", *PLAIN)
        assert done.stdout.startswith("1 of 1 images")
        done = run("explain", tmp_path, "bricks, the waves!", "--out", tmp_path, *PLAIN)
        assert done.stdout.startswith("1 of 1 images")
        words = ("--segmenter", "grabcut", "--presence-threshold", "0")
        done = run("mask", tmp_path, "bricks", "--out", tmp_path, *words, *PLAIN)
        assert "1 of 1 images" in done.stdout and done.exit_code == 0


def test_folders_below_are_searched_on_request_and_kept_in_the_results(run, picture, tmp_path, names_in):
    below = tmp_path / "in" / "below"
    below.mkdir(parents=True)
    picture.rename(below / "a.png")
    assert run("segment", tmp_path / "in", "bricks", "--out", tmp_path / "o").exit_code == 2
    done = run("segment", tmp_path / "in", "bricks", "-r", "--out", tmp_path / "o", *PLAIN)
    assert done.exit_code == 0, done.output
    assert names_in(tmp_path / "o") == ["below/a.labels.png", "below/a.overlay.png"]
